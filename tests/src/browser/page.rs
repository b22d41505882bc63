//! One page as a reader has it: the window, the colours, the keyboard, what a screen reader is told, a picture.

use std::path::Path;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::devtools::DevTools;
use crate::{Result, wait};

const LIMIT: Duration = Duration::from_secs(30);

/// What a reader prefers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// Dark on light.
    Light,
    /// Light on dark.
    Dark,
}

impl Scheme {
    /// As a media query names it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Light => "light",
            Self::Dark => "dark",
        }
    }
}

/// A page in a browser of its own, which ends with it.
#[derive(Debug)]
pub struct Page {
    tools: DevTools,
    session: String,
}

impl Page {
    pub(super) async fn start(program: &Path) -> Result<Self> {
        let mut tools = DevTools::start(program)?;
        let target = tools.call(None, "Target.createTarget", json!({"url": "about:blank"})).await?;
        let attach = json!({"targetId": target["targetId"], "flatten": true});
        let attached = tools.call(None, "Target.attachToTarget", attach).await?;
        let session = attached["sessionId"].as_str().ok_or("no session")?.to_owned();
        let mut page = Self { tools, session };
        // Keys reach a page that believes to be in front.
        page.call("Emulation.setFocusEmulationEnabled", json!({"enabled": true})).await?;
        Ok(page)
    }

    async fn call(&mut self, method: &str, values: Value) -> Result<Value> {
        self.tools.call(Some(&self.session), method, values).await
    }

    /// A window of this size whose reader prefers these colours. Scroll bars take no room.
    ///
    /// # Errors
    /// When the browser is gone.
    pub async fn appear(&mut self, width: u32, height: u32, scheme: Scheme) -> Result<()> {
        let size = json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": false});
        self.call("Emulation.setDeviceMetricsOverride", size).await?;
        let prefers = json!([{"name": "prefers-color-scheme", "value": scheme.name()}]);
        self.call("Emulation.setEmulatedMedia", json!({"features": prefers})).await.map(drop)
    }

    /// Loads a document and waits until `ready`, an expression, holds in it.
    ///
    /// # Errors
    /// When it never does; what the document became is in the error.
    pub async fn load(&mut self, url: &str, ready: &str) -> Result<()> {
        self.call("Page.navigate", json!({"url": url})).await?;
        let loaded = format!("document.readyState === 'complete' && location.href === {url:?} && ({ready})");
        self.until(&loaded).await
    }

    /// Waits until an expression holds.
    ///
    /// # Errors
    /// When it never does; what the document became is in the error.
    pub async fn until(&mut self, holds: &str) -> Result<()> {
        let within = async {
            while !matches!(self.evaluate(holds).await, Ok(Value::Bool(true))) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        if wait::within(holds, LIMIT, within).await.is_ok() {
            return Ok(());
        }
        let error = self.evaluate(holds).await;
        Err(format!("{holds} never held ({error:?}) in {}", self.document().await?).into())
    }

    /// The document as it is now.
    ///
    /// # Errors
    /// When the browser is gone.
    pub async fn document(&mut self) -> Result<String> {
        let document = self.evaluate("document.documentElement.outerHTML").await?;
        Ok(document.as_str().unwrap_or_default().to_owned())
    }

    /// The value of an expression in the page, awaited if it is a promise.
    ///
    /// # Errors
    /// When it throws.
    pub async fn evaluate(&mut self, expression: &str) -> Result<Value> {
        let asked = json!({"expression": expression, "returnByValue": true, "awaitPromise": true});
        let answer = self.call("Runtime.evaluate", asked).await?;
        match answer.get("exceptionDetails") {
            Some(thrown) => Err(format!("{expression:.200} throws {thrown}").into()),
            None => Ok(answer["result"]["value"].clone()),
        }
    }

    /// Presses and releases a key, by its name and its Windows code.
    ///
    /// # Errors
    /// When the browser is gone.
    pub async fn press(&mut self, key: &str, code: u32) -> Result<()> {
        for kind in ["rawKeyDown", "keyUp"] {
            let event = json!({"type": kind, "key": key, "code": key, "windowsVirtualKeyCode": code});
            self.call("Input.dispatchKeyEvent", event).await?;
        }
        Ok(())
    }

    /// Role and name of everything that is told to those who do not see.
    ///
    /// # Errors
    /// When the browser is gone.
    pub async fn told(&mut self) -> Result<Vec<(String, String)>> {
        let tree = self.call("Accessibility.getFullAXTree", json!({})).await?;
        let nodes = tree["nodes"].as_array().cloned().unwrap_or_default();
        let told = nodes.into_iter().filter(|node| node["ignored"] == false).map(|node| {
            let text = |key: &str| node[key]["value"].as_str().unwrap_or_default().to_owned();
            (text("role"), text("name"))
        });
        Ok(told.collect())
    }

    /// A PNG of the document, down to `most` pixels.
    ///
    /// # Errors
    /// When the browser is gone or the file cannot be written.
    pub async fn photograph(&mut self, file: &Path, most: u32) -> Result<()> {
        let size = self.evaluate("[innerWidth, document.documentElement.scrollHeight]").await?;
        let height = size[1].as_u64().unwrap_or_default().min(most.into());
        let clip = json!({"x": 0, "y": 0, "width": size[0], "height": height, "scale": 1});
        let asked = json!({"format": "png", "captureBeyondViewport": true, "clip": clip});
        let answer = self.call("Page.captureScreenshot", asked).await?;
        let bytes = STANDARD.decode(answer["data"].as_str().unwrap_or_default())?;
        Ok(std::fs::write(file, bytes)?)
    }
}
