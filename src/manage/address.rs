//! Where a request comes from, and what of it can be believed.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use http::{HeaderMap, Uri, header::HOST};

/// A network, or one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Network {
    address: IpAddr,
    prefix: u8,
}

impl Network {
    /// `10.0.0.0/8`, `fd00::/8`, `192.0.2.1`.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (address, prefix) = match text.trim().split_once('/') {
            Some((address, prefix)) => (address, Some(prefix.parse::<u8>().ok()?)),
            None => (text.trim(), None),
        };
        let address = address.parse::<IpAddr>().ok()?;
        let bits = if address.is_ipv4() { 32 } else { 128 };
        let prefix = prefix.unwrap_or(bits);
        (prefix <= bits).then_some(Self { address, prefix })
    }

    /// `address` has to be canonical.
    fn contains(&self, address: IpAddr) -> bool {
        let differ = match (self.address, address) {
            (IpAddr::V4(network), IpAddr::V4(address)) => {
                (network.to_bits() ^ address.to_bits()).leading_zeros()
            }
            (IpAddr::V6(network), IpAddr::V6(address)) => {
                (network.to_bits() ^ address.to_bits()).leading_zeros()
            }
            _ => return false,
        };
        differ >= u32::from(self.prefix)
    }
}

/// Who asks: the socket's peer, or whom proxies that are trusted name in its place. `None`: nobody knows.
///
/// `X-Forwarded-For` is read from the right, since a client can write whatever it likes to its left.
pub(super) fn client(peer: Option<IpAddr>, headers: &HeaderMap, trusted: &[Network]) -> Option<IpAddr> {
    let is_trusted = |address: IpAddr| trusted.iter().any(|network| network.contains(address));
    let mut client = peer?.to_canonical();
    let hops = headers.get_all("x-forwarded-for").iter().rev();
    let mut hops = hops.flat_map(|value| value.as_bytes().rsplit(|byte| *byte == b','));
    while is_trusted(client) {
        let Some(hop) = hops.next() else { break };
        client = std::str::from_utf8(hop).ok().and_then(|hop| parse(hop.trim()))?.to_canonical();
    }
    Some(client)
}

/// An address, as proxies write it: bare, in brackets, or with a port.
fn parse(text: &str) -> Option<IpAddr> {
    let bare =
        text.strip_prefix('[').and_then(|text| text.split_once(']')).map_or(text, |(address, _)| address);
    bare.parse().ok().or_else(|| text.parse::<std::net::SocketAddr>().ok().map(|address| address.ip()))
}

/// `address` is this machine's own.
pub(super) fn is_local(address: Option<IpAddr>) -> bool {
    address.is_some_and(|address| address.to_canonical().is_loopback())
}

/// The request is addressed to a name that is this machine's own, by everything that says so.
///
/// A page of somebody else's can have its name resolved to a loopback address, and its reader's browser ask us; the
/// name is in the request. One without any name was sent by no browser.
pub(super) fn is_host_local(headers: &HeaderMap, uri: &Uri) -> bool {
    let named = headers.get_all(HOST).iter().map(|host| std::str::from_utf8(host.as_bytes()).unwrap_or("?"));
    named.chain(uri.authority().map(http::uri::Authority::as_str)).all(is_name_local)
}

fn is_name_local(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split_once(']').map_or("?", |(name, _)| name),
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    };
    match name.parse::<IpAddr>() {
        Ok(address) => is_local(Some(address)),
        Err(_) => {
            let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
            name == "localhost" || name.ends_with(".localhost")
        }
    }
}

/// Under which name tries from `address` are counted: one machine has a whole /64 of IPv6 to try from.
pub(super) fn origin(address: Option<IpAddr>) -> IpAddr {
    match address.map(|address| address.to_canonical()) {
        Some(IpAddr::V6(address)) if !address.is_loopback() => {
            IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)))
        }
        Some(address) => address,
        // Nobody knows who: all of them are one.
        None => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn forwarded(values: &[&str]) -> HeaderMap {
        values.iter().map(|value| ("x-forwarded-for".parse().unwrap(), value.parse().unwrap())).collect()
    }

    fn client_of(peer: &str, trusted: &[&str], values: &[&str]) -> Option<String> {
        let trusted: Vec<_> = trusted.iter().map(|text| Network::parse(text).unwrap()).collect();
        client(Some(peer.parse().unwrap()), &forwarded(values), &trusted).map(|address| address.to_string())
    }

    /// A10
    #[test]
    fn the_peer_counts_and_nothing_that_it_says() {
        assert_eq!(client_of("203.0.113.9", &[], &["127.0.0.1"]).as_deref(), Some("203.0.113.9"));
        assert_eq!(client_of("203.0.113.9", &["10.0.0.0/8"], &["127.0.0.1"]).as_deref(), Some("203.0.113.9"));
    }

    /// A10
    #[test]
    fn a_trusted_proxy_is_believed_from_the_right() {
        let trusted = ["10.0.0.0/8", "127.0.0.1", "fd00::/8"];
        for (values, expected) in [
            (&["198.51.100.7"][..], Some("198.51.100.7")),
            (&["127.0.0.1, 198.51.100.7"], Some("198.51.100.7")),
            (&["127.0.0.1", "198.51.100.7, 10.9.9.9"], Some("198.51.100.7")),
            (&["198.51.100.7:4711"], Some("198.51.100.7")),
            (&["[2001:db8::1]:443"], Some("2001:db8::1")),
            (&["::ffff:198.51.100.7"], Some("198.51.100.7")),
            (&["127.0.0.1, unknown"], None),
            (&["127.0.0.1,"], None),
            (&[], Some("10.1.2.3")),
            (&["10.0.0.1, fd00::1"], Some("10.0.0.1")),
        ] {
            assert_eq!(client_of("10.1.2.3", &trusted, values).as_deref(), expected, "{values:?}");
        }
    }

    /// A11
    #[test]
    fn local_is_loopback_in_every_form() {
        for address in ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"] {
            assert!(is_local(address.parse().ok()), "{address}");
        }
        for address in ["10.0.0.1", "::", "::ffff:10.0.0.1", "fe80::1", "0.0.0.0"] {
            assert!(!is_local(address.parse().ok()), "{address}");
        }
        assert!(!is_local(None));
    }

    /// A12
    #[test]
    fn a_local_name_is_known_with_and_without_a_port() {
        for host in [
            "localhost",
            "LOCALHOST:8317",
            "a.localhost",
            "localhost.",
            "127.0.0.1:1",
            "127.1.1.1",
            "[::1]:80",
        ] {
            assert!(is_name_local(host), "{host}");
        }
        for host in [
            "evil.example",
            "localhost.evil.example",
            "127.0.0.1.evil.example:80",
            "10.0.0.1",
            "[::2]",
            "[::1",
            "",
        ] {
            assert!(!is_name_local(host), "{host}");
        }
    }

    #[test]
    fn a_network_that_is_none_is_refused() {
        for text in ["", "10.0.0.0/33", "::/129", "10.0.0/8", "proxy.example", "10.0.0.0/", "10.0.0.0/-1"] {
            assert_eq!(Network::parse(text), None, "{text}");
        }
        assert!(Network::parse("0.0.0.0/0").unwrap().contains("203.0.113.9".parse().unwrap()));
    }
}
