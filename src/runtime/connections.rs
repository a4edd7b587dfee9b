//! The open connections of the admin port, and which of them gives way to a new one.
//!
//! A connection gives way when its source has [`MAX_OF_SOURCE`] connections, or when there are [`MAX_CONNECTIONS`].
//! In the second case, the source with the most of them loses one: a client with one connection keeps it, however
//! fast another one opens connections. A source loses its oldest connection without a complete request; if there is
//! none, its oldest one, whose client does not read the response. The new connection is always accepted.

use std::collections::HashMap;
use std::future::Future;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::task::{AbortHandle, JoinSet};

/// Connections of one source address.
pub(super) const MAX_OF_SOURCE: usize = 8;
/// Connections of all source addresses.
pub(super) const MAX_CONNECTIONS: usize = 64;

struct OpenConnection {
    source: IpAddr,
    /// Whether the connection has sent a complete request.
    requested: Arc<AtomicBool>,
    task: AbortHandle,
}

/// The open connections, oldest first.
#[derive(Default)]
pub(super) struct Connections {
    open: Vec<OpenConnection>,
    tasks: JoinSet<()>,
}

impl Connections {
    /// Opens a connection, and drops another one if there are too many. `serve` gets a flag to set when the
    /// connection has sent a complete request.
    pub(super) fn admit<F: Future<Output = ()> + Send + 'static>(
        &mut self,
        source: IpAddr,
        serve: impl FnOnce(Arc<AtomicBool>) -> F,
    ) {
        self.open.retain(|connection| !connection.task.is_finished());
        let of_source = self.open.iter().filter(|c| c.source == source).count();
        let busiest = if of_source >= MAX_OF_SOURCE {
            Some(source)
        } else if self.open.len() >= MAX_CONNECTIONS {
            self.busiest_source()
        } else {
            None
        };
        if let Some(place) = busiest.and_then(|source| self.oldest(source)) {
            self.open.remove(place).task.abort();
        }
        let requested = Arc::new(AtomicBool::new(false));
        let task = self.tasks.spawn(serve(Arc::clone(&requested)));
        self.open.push(OpenConnection {
            source,
            requested,
            task,
        });
    }

    /// Returns the place of the oldest connection of a source without a complete request; of its oldest connection if
    /// all have sent one.
    fn oldest(&self, source: IpAddr) -> Option<usize> {
        let waiting = |c: &OpenConnection| c.source == source && !c.requested.load(Ordering::Acquire);
        let mut places = self.open.iter();
        let waiting = places.position(waiting);
        waiting.or_else(|| self.open.iter().position(|c| c.source == source))
    }

    /// Returns the source with the most connections; of several, the one with the oldest.
    fn busiest_source(&self) -> Option<IpAddr> {
        let mut counts: HashMap<IpAddr, usize> = HashMap::new();
        for connection in &self.open {
            *counts.entry(connection.source).or_default() += 1;
        }
        let most = counts.values().max().copied()?;
        let mut sources = self.open.iter().map(|c| c.source);
        sources.find(|source| counts.get(source) == Some(&most))
    }

    /// Waits until a connection ends; for ever if there is none.
    pub(super) async fn next_ended(&mut self) {
        if self.tasks.join_next().await.is_none() {
            std::future::pending::<()>().await;
        }
    }

    /// Waits until no connection is left.
    pub(super) async fn all_ended(mut self) {
        while self.tasks.join_next().await.is_some() {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(last: u8) -> IpAddr {
        IpAddr::from([127, 0, 0, last])
    }

    /// Sources of the open connections.
    fn sources(connections: &Connections) -> Vec<u8> {
        let last = |ip: IpAddr| match ip {
            IpAddr::V4(ip) => ip.octets()[3],
            IpAddr::V6(_) => 0,
        };
        connections.open.iter().map(|c| last(c.source)).collect()
    }

    #[tokio::test]
    async fn a_source_with_too_many_connections_loses_its_own_oldest() {
        let mut connections = Connections::default();
        connections.admit(address(1), |_| std::future::pending());
        for _ in 0..100 {
            connections.admit(address(2), |_| std::future::pending());
        }
        assert_eq!(sources(&connections), [vec![1], vec![2; MAX_OF_SOURCE]].concat());
    }

    #[tokio::test]
    async fn the_source_with_the_most_connections_makes_room() {
        let mut connections = Connections::default();
        connections.admit(address(1), |_| std::future::pending());
        for round in 0..1_000u32 {
            let source = 2 + u8::try_from(round % 40).unwrap();
            connections.admit(address(source), |_| std::future::pending());
        }
        let open = sources(&connections);
        assert_eq!(open.len(), MAX_CONNECTIONS);
        assert!(open.contains(&1), "{open:?}");
    }

    #[tokio::test]
    async fn a_connection_with_a_complete_request_gives_way_last() {
        let answered = |connections: &mut Connections, source| {
            connections.admit(address(source), |requested| {
                requested.store(true, Ordering::Release);
                std::future::pending()
            });
        };
        let mut connections = Connections::default();
        answered(&mut connections, 1);
        for _ in 0..100 {
            connections.admit(address(1), |_| std::future::pending());
        }
        assert!(connections.open[0].requested.load(Ordering::Acquire));
        // Clients that do not read their responses keep nobody out.
        let mut connections = Connections::default();
        for source in 2..=9 {
            for _ in 0..MAX_OF_SOURCE {
                answered(&mut connections, source);
            }
        }
        connections.admit(address(1), |_| std::future::pending());
        answered(&mut connections, 2);
        assert!(sources(&connections).contains(&1));
        assert_eq!(connections.open.len(), MAX_CONNECTIONS);
    }
}
