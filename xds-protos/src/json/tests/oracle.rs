//! The same random messages through `prost-reflect`: an independent reading of the same descriptors.

use std::collections::{BTreeSet, HashMap};

use prost::Message;
use prost_reflect::{
    Cardinality, DescriptorPool, DynamicMessage, FieldDescriptor, Kind, MapKey, MessageDescriptor,
    ReflectMessage, SerializeOptions, Value,
};
use serde_json::Value as Json;

use crate::json::decode::Decoder;
use crate::json::print::Printer;
use crate::json::{Secrets, tree, yaml};
use crate::schema;

/// Random messages per type.
const ROUNDS: u64 = 3;

#[test]
fn random_messages_of_every_type_print_and_read_like_the_oracle() {
    let descriptors = std::fs::read(env!("ENVOY_DESCRIPTORS")).unwrap();
    let pool = DescriptorPool::decode(descriptors.as_slice()).unwrap();
    let mut compared = 0;
    for descriptor in pool.all_messages().filter(|message| !message.is_map_entry()) {
        let Some(ty) = schema::find(descriptor.full_name()) else { continue };
        for round in 0..ROUNDS {
            let mut random = Random(compared * ROUNDS + round + 1);
            let message = random.message(&descriptor, 0);
            let bytes = message.encode_to_vec();
            let message = DynamicMessage::decode(descriptor.clone(), bytes.as_slice()).unwrap();
            compare_print(ty, &message, &bytes);
            compare_read(ty, &message, &bytes);
        }
        compared += 1;
    }
    assert!(compared > 500, "only {compared} types");
}

fn compare_print(ty: &'static schema::MessageType, message: &DynamicMessage, bytes: &[u8]) {
    let expected = oracle_json(message);
    let printed = Printer::new(Secrets::Show).message(ty, bytes).unwrap();
    assert!(alike(&expected, &printed), "{}\nexpected {expected}\nprinted  {printed}", ty.name());
}

fn oracle_json(message: &DynamicMessage) -> Json {
    let options = SerializeOptions::new().use_proto_field_name(true);
    message.serialize_with_options(serde_json::value::Serializer, &options).unwrap()
}

/// Printed text, as JSON and as YAML, must be read back to the same message.
fn compare_read(ty: &'static schema::MessageType, message: &DynamicMessage, bytes: &[u8]) {
    let printed = Printer::new(Secrets::Show).message(ty, bytes).unwrap();
    // The reader is a YAML reader: it wants DEL escaped, which JSON does not ask for.
    let json_text = printed.to_string().replace('\u{7f}', "\\u007f");
    for (json, text) in [(true, json_text), (false, yaml::to_yaml(&printed))] {
        let tree = tree::read(&text).unwrap_or_else(|e| panic!("{e}\n{text}"));
        let mut encoded = vec![];
        Decoder::new(json).message(ty, &tree, &mut encoded).unwrap_or_else(|e| panic!("{e}\n{text}"));
        let back = DynamicMessage::decode(message.descriptor(), encoded.as_slice()).unwrap();
        // Not the messages: maps inside an `Any` have no order in their bytes.
        let (before, after) = (oracle_json(message), oracle_json(&back));
        assert!(before == after, "{}\n{text}\nbefore {before}\nafter  {after}", ty.name());
    }
}

/// Equal but for the notation of numbers: `1` and `1.0`, a float in its own or in double precision.
fn alike(a: &Json, b: &Json) -> bool {
    match (a, b) {
        (Json::Number(a), Json::Number(b)) => a.as_f64().unwrap() as f32 == b.as_f64().unwrap() as f32,
        (Json::Array(a), Json::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| alike(a, b)),
        (Json::Object(a), Json::Object(b)) => {
            let keys =
                |object: &serde_json::Map<String, Json>| object.keys().cloned().collect::<BTreeSet<_>>();
            keys(a) == keys(b) && a.iter().all(|(key, value)| alike(value, &b[key]))
        }
        _ => a == b,
    }
}

/// Replayable randomness (SplitMix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    fn message(&mut self, descriptor: &MessageDescriptor, depth: usize) -> DynamicMessage {
        let mut message = DynamicMessage::new(descriptor.clone());
        match descriptor.full_name() {
            "google.protobuf.Any" => self.any(&mut message, depth),
            "google.protobuf.Duration" => {
                let sign = if self.below(2) == 0 { -1 } else { 1 };
                let seconds = self.below(300_000_000_000) as i64;
                message.set_field_by_name("seconds", Value::I64(sign * seconds));
                message.set_field_by_name("nanos", Value::I32(sign as i32 * self.nanos()));
            }
            "google.protobuf.Timestamp" => {
                let seconds = self.below(253_402_300_800 + 62_135_596_800) as i64 - 62_135_596_800;
                message.set_field_by_name("seconds", Value::I64(seconds));
                message.set_field_by_name("nanos", Value::I32(self.nanos()));
            }
            "google.protobuf.Value" => self.value_kind(&mut message, depth),
            _ => self.fields(&mut message, depth),
        }
        message
    }

    fn nanos(&mut self) -> i32 {
        let nanos = self.below(1_000_000_000) as i32;
        [0, nanos, nanos / 1_000 * 1_000, nanos / 1_000_000 * 1_000_000][self.below(4) as usize]
    }

    fn any(&mut self, message: &mut DynamicMessage, depth: usize) {
        let pool = message.descriptor().parent_pool().clone();
        let names = [
            "google.protobuf.StringValue",
            "google.protobuf.Duration",
            "google.protobuf.Struct",
            "envoy.extensions.filters.http.router.v3.Router",
            "envoy.config.core.v3.Address",
        ];
        let name = names[self.below(names.len() as u64) as usize];
        let inner = self.message(&pool.get_message_by_name(name).unwrap(), depth + 1);
        message.set_field_by_name("type_url", Value::String(format!("type.googleapis.com/{name}")));
        message.set_field_by_name("value", Value::Bytes(inner.encode_to_vec().into()));
    }

    /// Whole numbers of 32 bits only: others read differently in YAML, as they do in Envoy.
    fn value_kind(&mut self, message: &mut DynamicMessage, depth: usize) {
        let kinds = if depth > 4 { 4 } else { 6 };
        let field = message.descriptor().get_field(1 + self.below(kinds) as u32).unwrap();
        let value = match field.number() {
            1 => Value::EnumNumber(0),
            2 => Value::F64(f64::from(self.next() as i32)),
            _ => self.scalar(&field, depth + 1),
        };
        message.set_field(&field, value);
    }

    fn fields(&mut self, message: &mut DynamicMessage, depth: usize) {
        let share = if depth > 3 { 12 } else { 3 };
        for field in message.descriptor().fields() {
            let deep = depth > 6 && matches!(field.kind(), Kind::Message(_));
            if deep || self.below(share) != 0 {
                continue;
            }
            let value = if field.is_map() {
                Value::Map((0..=self.below(2)).map(|_| self.entry(&field, depth)).collect())
            } else if field.cardinality() == Cardinality::Repeated {
                Value::List((0..=self.below(2)).map(|_| self.scalar(&field, depth)).collect())
            } else {
                self.scalar(&field, depth)
            };
            message.set_field(&field, value);
        }
    }

    fn entry(&mut self, field: &FieldDescriptor, depth: usize) -> (MapKey, Value) {
        let entry = field.kind().as_message().unwrap().clone();
        let key = match self.scalar(&entry.map_entry_key_field(), depth) {
            Value::String(text) => MapKey::String(text),
            Value::U32(n) => MapKey::U32(n),
            Value::U64(n) => MapKey::U64(n),
            Value::I64(n) => MapKey::I64(n),
            Value::I32(n) => MapKey::I32(n),
            other => panic!("a map key {other:?}"),
        };
        (key, self.scalar(&entry.map_entry_value_field(), depth))
    }

    fn scalar(&mut self, field: &FieldDescriptor, depth: usize) -> Value {
        let word = [0, 1, self.next(), u64::MAX][self.below(4) as usize];
        match field.kind() {
            Kind::Bool => Value::Bool(word & 1 == 1),
            Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => Value::I32(word as i32),
            Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => Value::I64(word as i64),
            Kind::Uint32 | Kind::Fixed32 => Value::U32(word as u32),
            Kind::Uint64 | Kind::Fixed64 => Value::U64(word),
            Kind::Float => {
                Value::F32(Some(f32::from_bits(word as u32)).filter(|x| x.is_finite()).unwrap_or(0.1))
            }
            Kind::Double => Value::F64(Some(f64::from_bits(word)).filter(|x| x.is_finite()).unwrap_or(0.1)),
            Kind::String => Value::String(self.text()),
            Kind::Bytes => Value::Bytes(self.text().into_bytes().into()),
            Kind::Enum(ty) => {
                // Of aliases the oracle prints any; protobuf, and we, the first.
                let numbers: Vec<_> = ty.values().map(|value| value.number()).collect();
                let number = numbers[self.below(numbers.len() as u64) as usize];
                let aliased = numbers.iter().filter(|other| **other == number).count() > 1;
                Value::EnumNumber(if aliased { numbers[0] } else { number })
            }
            Kind::Message(ty) => Value::Message(self.message(&ty, depth + 1)),
        }
    }

    /// Texts that YAML and JSON readers stumble over.
    fn text(&mut self) -> String {
        let hard = [
            "",
            "yes",
            "on",
            "Off",
            "null",
            "~",
            "1",
            "0x10",
            "010",
            "1.10",
            "-",
            "- a",
            "a: b",
            "#c",
            "@type",
            "é\u{1F980}",
            "\"q\"",
            "'s'",
            "line\nbreak\n",
            " space ",
            "\t",
            "\u{0}\u{7f}",
            "\\",
            "%x",
            "{}",
            "[",
            "*a",
            "&a",
            "!t",
            "|",
            "2024-01-01",
            "012345678901",
            "1e3",
            ".inf",
            "a/b.c-d_e",
            "\u{2028}\u{85}\u{feff}",
            "<<",
            "=",
        ];
        match self.below(3) {
            0 => hard[self.below(hard.len() as u64) as usize].to_owned(),
            1 => hard[self.below(hard.len() as u64) as usize].repeat(2),
            _ => format!("name-{}", self.below(1000)),
        }
    }
}

#[test]
fn the_oracle_has_enough_variety() {
    let mut random = Random(1);
    let texts: HashMap<String, usize> = (0..500).map(|i| (random.text(), i)).collect();
    assert!(texts.len() > 50);
}
