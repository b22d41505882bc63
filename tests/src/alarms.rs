//! Alarms of a CloudFormation template, evaluated over metric documents as CloudWatch would over one period.

mod math;

use serde_json::Value;

use crate::Result;

/// A template with values for its parameters.
#[derive(Debug)]
pub struct Template {
    template: Value,
    given: Vec<(String, Value)>,
}

/// What an alarm says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Within its threshold, or without data that it takes for good.
    Ok,
    /// Beyond it, or without data that it takes for bad.
    Alarm,
}

impl Template {
    /// Parses a template; parameters that are not given have their defaults.
    pub fn parse(text: &str, given: &[(&str, Value)]) -> Result<Self> {
        let given = given.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        Ok(Self { template: serde_json::from_str(text)?, given })
    }

    /// The alarm's state when these documents are all there is of every period.
    pub fn state(&self, alarm: &str, documents: &[Value]) -> Result<State> {
        let properties = &self.template["Resources"][alarm]["Properties"];
        let beyond = match self.value_of(properties, documents)? {
            Some(value) => {
                let threshold = self.resolve(&properties["Threshold"]).as_f64().ok_or("no threshold")?;
                match properties["ComparisonOperator"].as_str() {
                    Some("GreaterThanThreshold") => value > threshold,
                    Some("LessThanThreshold") => value < threshold,
                    other => return Err(format!("{alarm}: comparison {other:?}").into()),
                }
            }
            None => properties["TreatMissingData"] == "breaching",
        };
        Ok(if beyond { State::Alarm } else { State::Ok })
    }

    fn value_of(&self, properties: &Value, documents: &[Value]) -> Result<Option<f64>> {
        let Some(queries) = properties["Metrics"].as_array() else {
            let statistic = properties["Statistic"].as_str().or(properties["ExtendedStatistic"].as_str());
            return self.statistic(properties, statistic.ok_or("no statistic")?, documents);
        };
        let mut known: Vec<(&str, Option<f64>)> = Vec::new();
        let mut returned = None;
        for query in queries {
            let value = match query["Expression"].as_str() {
                Some(expression) => math::evaluate(expression, &known)?,
                None => {
                    let stat = &query["MetricStat"];
                    self.statistic(&stat["Metric"], stat["Stat"].as_str().ok_or("no statistic")?, documents)?
                }
            };
            known.push((query["Id"].as_str().ok_or("no id")?, value));
            if query["ReturnData"] == true && returned.replace(value).is_some() {
                return Err("two queries return data".into());
            }
        }
        returned.ok_or_else(|| "no query returns data".into())
    }

    /// A statistic of the metric with exactly these dimensions; `None` when no document tells it.
    fn statistic(&self, metric: &Value, statistic: &str, documents: &[Value]) -> Result<Option<f64>> {
        let name = metric["MetricName"].as_str().ok_or("no metric")?;
        let namespace = self.resolve(&metric["Namespace"]);
        let mut dimensions = Vec::new();
        for one in metric["Dimensions"].as_array().ok_or("no dimensions")? {
            let name = one["Name"].as_str().ok_or("a dimension without name")?;
            dimensions.push((name, self.resolve(&one["Value"])));
        }
        let told = documents.iter().filter(|document| tells(document, &namespace, name, &dimensions));
        let points: Vec<&Value> = told.map(|document| &document[name]).collect();
        let of = |field: &str| -> Vec<f64> {
            points.iter().filter_map(|point| point.as_f64().or_else(|| point[field].as_f64())).collect()
        };
        Ok(match statistic {
            _ if points.is_empty() => None,
            "Sum" => Some(of("Sum").iter().sum()),
            "Minimum" => of("Min").into_iter().reduce(f64::min),
            "Maximum" => of("Max").into_iter().reduce(f64::max),
            "p99" => Some(percentile(&points, 0.99)),
            other => return Err(format!("statistic {other}").into()),
        })
    }

    /// A literal, or the value of the parameter that is referred to.
    fn resolve(&self, value: &Value) -> Value {
        let Some(name) = value["Ref"].as_str() else { return value.clone() };
        let given = self.given.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone());
        given.unwrap_or_else(|| self.template["Parameters"][name]["Default"].clone())
    }
}

/// Whether the document publishes the metric under exactly these dimensions.
fn tells(document: &Value, namespace: &Value, metric: &str, dimensions: &[(&str, Value)]) -> bool {
    let directives = document["_aws"]["CloudWatchMetrics"].as_array().into_iter().flatten();
    directives.into_iter().any(|directive| {
        let mut metrics = directive["Metrics"].as_array().into_iter().flatten();
        let mut sets = directive["Dimensions"].as_array().into_iter().flatten().filter_map(Value::as_array);
        directive["Namespace"] == *namespace
            && metrics.any(|one| one["Name"] == metric)
            && sets.any(|set| {
                set.len() == dimensions.len()
                    && dimensions.iter().all(|(name, _)| set.iter().any(|one| one == name))
            })
            && dimensions.iter().all(|(name, value)| document[*name] == *value)
    })
}

/// Of `Values` and `Counts`.
fn percentile(points: &[&Value], share: f64) -> f64 {
    let numbers = |list: &Value| -> Vec<f64> {
        list.as_array().into_iter().flatten().filter_map(Value::as_f64).collect()
    };
    let mut values: Vec<(f64, f64)> = points
        .iter()
        .flat_map(|point| numbers(&point["Values"]).into_iter().zip(numbers(&point["Counts"])))
        .collect();
    values.sort_by(|one, other| one.0.total_cmp(&other.0));
    let all: f64 = values.iter().map(|(_, count)| count).sum();
    let mut seen = 0.0;
    let found = values.iter().find(|(_, count)| {
        seen += count;
        seen >= all * share
    });
    found.map_or(0.0, |(value, _)| *value)
}
