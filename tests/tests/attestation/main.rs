//! Proofs of identity that are forged, replayed or expired, of every kind: each gets `UNAUTHENTICATED` and nothing that
//! helps its maker, and the audit says why. Those of AWS are in `aws_identity.rs`, with its STS.

mod accounts;
mod ends;
mod own_node;
mod reviewed;
mod scene;

use outrigger_tests::Result;
use outrigger_tests::tls::Authority;
use scene::{A, B, ENDED, JOIN, Offline, Review, Scene, Shown, TokenIssuer};

const UNAUTHENTICATED: u32 = 16;

/// A proof, the node that it is shown for, and what the audit says of it.
struct Cell<'c> {
    what: &'static str,
    shown: Shown<'c>,
    node: &'c str,
    audit: &'static str,
}

impl<'c> Cell<'c> {
    fn new(what: &'static str, shown: Shown<'c>, node: &'c str, audit: &'static str) -> Self {
        Self { what, shown, node, audit }
    }
}

async fn refused(scene: &mut Scene, cells: Vec<Cell<'_>>) -> Result<()> {
    for Cell { what, shown, node, audit } in cells {
        let before = scene.audited(audit);
        let reply = scene.discover(node, &shown).await?;
        assert_eq!(reply.status, Some(UNAUTHENTICATED), "{what}");
        assert_eq!((reply.message.as_str(), reply.messages.len()), ("not%20authenticated", 0), "{what}");
        let told = scene.until_audited(audit, before).await?;
        assert_eq!(told, before + 1, "{what}: {}", scene.plane.process().stderr());
    }
    Ok(())
}

async fn served(scene: &Scene, node: &str, shown: Shown<'_>) -> Result<()> {
    let reply = scene.discover(node, &shown).await?;
    assert_eq!(reply.status, Some(0), "{}", reply.message);
    assert_eq!(reply.messages.len(), 1);
    Ok(())
}

#[tokio::test]
async fn join_tokens() -> Result<()> {
    let mut scene = Scene::start().await?;
    served(&scene, A, Shown::token(JOIN)).await?;
    let cells = vec![
        Cell::new("forged", Shown::token("a-join-token-of-nobody"), A, "an unknown token"),
        Cell::new("replayed for another node", Shown::token(JOIN), B, "not a node of this client"),
        Cell::new("expired", Shown::token(ENDED), A, "an expired join token"),
        Cell::new("none", Shown::default(), A, "shows nothing"),
    ];
    refused(&mut scene, cells).await
}

#[tokio::test]
async fn tokens_checked_against_keys() -> Result<()> {
    let mut scene = Scene::start().await?;
    let token = |audience: &str, seconds| scene.issuer.token(Offline::ISSUER, audience, seconds);
    let (good, misused, late) = (token("outrigger", 600)?, token("another", 600)?, token("outrigger", -600)?);
    let forged = TokenIssuer::new()?.token(Offline::ISSUER, "outrigger", 600)?;
    let stripped = format!("{}.", good.rsplit_once('.').ok_or("no signature")?.0);
    served(&scene, A, Shown::token(&good)).await?;
    let cells = vec![
        Cell::new("forged", Shown::token(&forged), A, "no key of the issuer has signed it"),
        Cell::new("without signature", Shown::token(&stripped), A, "an unknown token"),
        Cell::new("replayed from elsewhere", Shown::token(&misused), A, "a token for another audience"),
        Cell::new("replayed for another node", Shown::token(&good), B, "not a node of this client"),
        Cell::new("expired", Shown::token(&late), A, "an expired token"),
    ];
    refused(&mut scene, cells).await
}

#[tokio::test]
async fn tokens_reviewed_by_their_server() -> Result<()> {
    let mut scene = Scene::start().await?;
    let token = |audience: &str, seconds| scene.issuer.token(Review::ISSUER, audience, seconds);
    let (good, misused, late) = (token("outrigger", 600)?, token("another", 600)?, token("outrigger", -600)?);
    let forged = TokenIssuer::new()?.token(Review::ISSUER, "outrigger", 600)?;
    // The server would take them all; what the tokens say is enough to refuse two.
    for known in [&good, &misused, &late] {
        scene.api.know(known, scene::ACCOUNT);
    }
    served(&scene, A, Shown::token(&good)).await?;
    let cells = vec![
        Cell::new("forged", Shown::token(&forged), A, "the API server does not accept the token"),
        Cell::new("forged, again", Shown::token(&forged), A, "was refused a moment ago"),
        Cell::new("replayed from elsewhere", Shown::token(&misused), A, "a token for another audience"),
        Cell::new("replayed for another node", Shown::token(&good), B, "not a node of this client"),
        Cell::new("expired", Shown::token(&late), A, "an expired token"),
    ];
    refused(&mut scene, cells).await?;
    scene.api.forget(&good);
    let gone = Cell::new("replayed after its pod", Shown::token(&good), A, "the API server does not accept");
    refused(&mut scene, vec![gone]).await?;
    assert_eq!(scene.api.reviews(), 4, "good twice, forged once, and good again");
    Ok(())
}

#[tokio::test]
async fn certificates() -> Result<()> {
    const URI: &str = "spiffe://shop/virtualNode/a";
    let mut scene = Scene::start().await?;
    let good = scene.identity(URI, |_| {})?;
    served(&scene, A, Shown::identity(&good)).await?;
    let other = Shown::identity(&good);
    refused(&mut scene, vec![Cell::new("replayed for another node", other, B, "not a node of this client")])
        .await?;
    // Those do not come as far as a call: the handshake fails with nothing but an alert.
    let forged = Authority::new()?.issue(&[URI])?;
    let late = scene.identity(URI, |params| params.not_after = rcgen::date_time_ymd(2021, 1, 1))?;
    let stolen = Shown { without_key: true, ..Shown::identity(&good) };
    for (what, shown, audit) in [
        ("forged", Shown::identity(&forged), "UnknownIssuer"),
        ("expired", Shown::identity(&late), "expired"),
        ("shown without its key", stolen, "BadSignature"),
    ] {
        assert_eq!(scene.audited(audit), 0, "{what}");
        assert!(scene.discover(A, &shown).await.is_err(), "{what}");
        scene.until_audited(audit, 0).await?;
    }
    Ok(())
}
