//! Who listens on a port. An instance that was left over shares a port by `SO_REUSEPORT`, takes
//! half of the connections, and halves the CPU time of the one that is measured.

use std::collections::{BTreeSet, HashSet};
use std::fs::{read_dir, read_link, read_to_string};

/// The processes that have a listening TCP socket of this port.
pub(crate) fn owners_of_port(port: u16) -> BTreeSet<u32> {
    let mut inodes = HashSet::new();
    for table in ["/proc/net/tcp", "/proc/net/tcp6"] {
        let text = read_to_string(table).unwrap_or_default();
        inodes.extend(text.lines().filter_map(|line| listening(line, port)));
    }
    let processes = read_dir("/proc").into_iter().flatten().flatten();
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|pid| holds(*pid, &inodes)).collect()
}

/// The inode of a line of `/proc/net/tcp`, if it is a socket that listens on the port.
fn listening(line: &str, port: u16) -> Option<u64> {
    const LISTEN: &str = "0A";
    let fields: Vec<&str> = line.split_whitespace().collect();
    let (_, hexadecimal) = fields.get(1)?.rsplit_once(':')?;
    let is_wanted = u16::from_str_radix(hexadecimal, 16) == Ok(port) && *fields.get(3)? == LISTEN;
    fields.get(9)?.parse().ok().filter(|_| is_wanted)
}

fn holds(pid: u32, inodes: &HashSet<u64>) -> bool {
    let files = read_dir(format!("/proc/{pid}/fd"))
        .into_iter()
        .flatten()
        .flatten();
    files
        .filter_map(|file| read_link(file.path()).ok())
        .any(|target| {
            let inode = target
                .to_str()
                .and_then(|text| text.strip_prefix("socket:["));
            let inode = inode.and_then(|text| text.strip_suffix(']')?.parse().ok());
            inode.is_some_and(|inode: u64| inodes.contains(&inode))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = "   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 \
                        00000000     0        0 4711 1 0000000000000000 100 0 0 10 0";

    #[test]
    fn only_a_socket_that_listens_counts() {
        assert_eq!(listening(LINE, 8080), Some(4711));
        assert_eq!(listening(LINE, 8081), None);
        assert_eq!(listening(&LINE.replace(" 0A ", " 01 "), 8080), None);
        assert_eq!(
            listening("  sl  local_address rem_address   st", 8080),
            None
        );
    }

    #[test]
    fn this_process_is_found_by_its_port() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("it is bound").port();
        assert!(owners_of_port(port).contains(&std::process::id()));
        drop(listener);
    }
}
