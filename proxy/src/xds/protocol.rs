//! Either protocol variant behind one face, and the node on the first message of a stream.

use outrigger_xds_protos::v3::core::Node;
use outrigger_xds_protos::v3::discovery::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
};

use super::delta::Delta;
use super::resource::{Fault, Interest, ResourceType, Update};
use super::sotw::Sotw;

/// The two ways to speak ADS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Variant {
    /// `GRPC`: whole lists.
    StateOfTheWorld,
    /// `DELTA_GRPC`: differences.
    Delta,
}

/// A request of either variant.
#[derive(Clone, Debug, PartialEq)]
pub enum Request {
    /// State of the world.
    Sotw(DiscoveryRequest),
    /// Delta.
    Delta(DeltaDiscoveryRequest),
}

/// A response of either variant.
#[derive(Clone, Debug, PartialEq)]
pub enum Response {
    /// State of the world.
    Sotw(DiscoveryResponse),
    /// Delta.
    Delta(DeltaDiscoveryResponse),
}

impl Response {
    /// `control_plane.identifier`; empty when the server does not say.
    pub fn control_plane(&self) -> &str {
        let identity = match self {
            Response::Sotw(response) => &response.control_plane,
            Response::Delta(response) => &response.control_plane,
        };
        identity.as_ref().map_or("", |identity| &identity.identifier)
    }

    /// Type URL, for logs.
    pub fn type_url(&self) -> &str {
        match self {
            Response::Sotw(response) => &response.type_url,
            Response::Delta(response) => &response.type_url,
        }
    }
}

/// The state machine of the chosen variant.
#[derive(Debug)]
pub struct Protocol {
    machine: Machine,
    node: Node,
    /// The next request is the first of its stream.
    first: bool,
}

#[derive(Debug)]
enum Machine {
    Sotw(Sotw),
    Delta(Delta),
}

impl Protocol {
    /// A machine without a stream.
    pub fn new(variant: Variant, node: Node) -> Self {
        let machine = match variant {
            Variant::StateOfTheWorld => Machine::Sotw(Sotw::default()),
            Variant::Delta => Machine::Delta(Delta::default()),
        };
        Self { machine, node, first: true }
    }

    /// A stream was opened: its first requests.
    pub fn opened(&mut self) -> Vec<Request> {
        self.first = true;
        let requests: Vec<Request> = match &mut self.machine {
            Machine::Sotw(machine) => machine.opened().into_iter().map(Request::Sotw).collect(),
            Machine::Delta(machine) => machine.opened().into_iter().map(Request::Delta).collect(),
        };
        requests.into_iter().map(|request| self.introduce(request)).collect()
    }

    /// The stream is gone.
    pub fn closed(&mut self) {
        match &mut self.machine {
            Machine::Sotw(machine) => machine.closed(),
            Machine::Delta(machine) => machine.closed(),
        }
    }

    /// Changes what is wanted of a type.
    pub fn want(&mut self, kind: ResourceType, interest: Interest) -> Option<Request> {
        let request = match &mut self.machine {
            Machine::Sotw(machine) => machine.want(kind, interest).map(Request::Sotw),
            Machine::Delta(machine) => machine.want(kind, interest).map(Request::Delta),
        };
        request.map(|request| self.introduce(request))
    }

    /// A response arrived. `None`: drop it.
    pub fn received(&mut self, response: Response) -> Option<Update> {
        match (&mut self.machine, response) {
            (Machine::Sotw(machine), Response::Sotw(response)) => machine.received(response),
            (Machine::Delta(machine), Response::Delta(response)) => machine.received(response),
            // The stream was opened for the other variant; it cannot deliver this.
            _ => None,
        }
    }

    /// ACK, or NACK when there are faults.
    pub fn answer(&mut self, update: &Update, faults: &[Fault]) -> Request {
        match &mut self.machine {
            Machine::Sotw(machine) => Request::Sotw(machine.answer(update, faults)),
            Machine::Delta(machine) => Request::Delta(machine.answer(update, faults)),
        }
    }

    fn introduce(&mut self, mut request: Request) -> Request {
        if std::mem::take(&mut self.first) {
            let node = match &mut request {
                Request::Sotw(request) => &mut request.node,
                Request::Delta(request) => &mut request.node,
            };
            *node = Some(self.node.clone());
        }
        request
    }
}
