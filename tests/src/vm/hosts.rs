//! Two hosts in a guest, each in a network namespace of its own, and names for the cards.

use super::{Machine, Nic};

impl Machine {
    /// Gives a card's interface this name.
    ///
    /// # Panics
    /// If there is no such interface.
    pub fn name(&mut self, nic: &Nic, name: &str) {
        self.expect(&format!(
            "for i in /sys/class/net/*; do [ $(cat $i/address) = {} ] && \
             ip link set ${{i##*/}} name {name}; done; [ -e /sys/class/net/{name} ]",
            nic.mac()
        ));
    }

    /// Makes a host that has the interface `name`, with the address 10.0.0.`number`. Its namespace is
    /// that of the process `$variable` then.
    ///
    /// # Panics
    /// If that fails.
    pub fn host(&mut self, name: &str, variable: &str, number: u8) {
        self.expect(&format!("unshare -n sleep 1000000 & {variable}=$!; sleep 0.5"));
        self.await_success(&format!("ip link set {name} netns ${variable}"));
        self.expect(&format!(
            "nsenter -t ${variable} -n ip link set lo up && \
             nsenter -t ${variable} -n ip addr add 10.0.0.{number}/24 dev {name} && \
             nsenter -t ${variable} -n ip link set {name} up"
        ));
    }
}
