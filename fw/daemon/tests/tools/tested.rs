//! What `weir test` prints and writes.

use crate::weir::Folder;

const RULES: &str = "\
block log label \"default\"
pass in quick on wan proto tcp to 198.51.100.2 port { 80 443 } label \"web\"
pass in on lan from 10.0.0.0/8
block in on lan proto udp to port 53
pass out
";

const GOOD: &str = "\
# the web server
pass  in on wan proto tcp from 192.0.2.1 to 198.51.100.2 port 80 by \"web\"
block in on wan proto tcp from 192.0.2.1 to 198.51.100.2 port 22 by @0
block in on lan proto udp from 10.0.0.1 to 192.0.2.53 port domain by @4
pass  in on lan proto tcp from 10.0.0.1 to 192.0.2.53 port domain by @5
";

const BAD: &str = "\
pass in on wan proto tcp from 192.0.2.1 to 198.51.100.2 port 22
block in on lan proto tcp from 10.0.0.1 to 192.0.2.53 port 53
pass in on lan proto udp from 10.0.0.1 to 192.0.2.53 port 53
pass in on wan proto tcp from 192.0.2.1 to 198.51.100.2 port 80 by @1
block in on wan proto tcp from 192.0.2.1 to 198.51.100.2 port 80 flags SA by \"default\"
pass in on wan proto tcp from 192.0.2.1 to 198.51.100.2 port 80 flags SA by \"web & <more>\"
pass in on wan flags none from 192.0.2.1 to 198.51.100.2 port 80
";

fn folder() -> Folder {
    Folder::with(&[("weir.conf", RULES), ("good.cases", GOOD), ("bad.cases", BAD)])
}

#[test]
fn what_is_as_expected_is_counted() {
    let said = folder().weir("test --rules weir.conf good.cases");
    assert_eq!((said.out.as_str(), said.status), ("4 cases, 0 failed\n", Some(0)));
    assert_eq!(said.errors, "");
    let said = folder().weir("test -q --rules weir.conf good.cases");
    assert_eq!((said.out.as_str(), said.status), ("", Some(0)));
}

#[test]
fn what_differs_is_told_with_the_reason() {
    let said = folder().weir("test --rules weir.conf good.cases bad.cases");
    assert_eq!(
        said.out,
        "bad.cases:1: expected pass, got block: in on wan inet proto tcp from 192.0.2.1 port 40000 \
         to 198.51.100.2 port 22 flags S\n\
         \x20 block: @0 \"default\" blocks it arriving\n\
         \x20   @0 block drop log all label \"default\" (weir.conf:1)\n\
         \x20 nearest, in on wan: @1 \"web\" differs: port 22 is not = 80\n\
         \x20   @1 pass in quick on wan inet proto tcp from any to 198.51.100.2 port = 80 flags S/SA \
         label \"web\" (weir.conf:2)\n\
         bad.cases:2: expected block, got pass: in on lan inet proto tcp from 10.0.0.1 port 40000 to \
         192.0.2.53 port 53 flags S\n\
         \x20 pass: @3 passes it arriving, @5 leaving\n\
         \x20   @3 pass in on lan inet from 10.0.0.0/8 to any flags S/SA (weir.conf:3)\n\
         \x20   @5 pass out all flags S/SA (weir.conf:5)\n\
         \x20 nearest, in on lan: @0 \"default\" matches, but @3 comes later\n\
         \x20   @0 block drop log all label \"default\" (weir.conf:1)\n\
         bad.cases:3: expected pass, got block: in on lan inet proto udp from 10.0.0.1 port 40000 to \
         192.0.2.53 port 53\n\
         \x20 block: @4 blocks it arriving\n\
         \x20   @4 block drop in on lan proto udp from any to any port = 53 (weir.conf:4)\n\
         \x20 nearest, in on lan: @3 matches, but @4 comes later\n\
         \x20   @3 pass in on lan inet from 10.0.0.0/8 to any flags S/SA (weir.conf:3)\n\
         bad.cases:6: expected pass, got block: in on wan inet proto tcp from 192.0.2.1 port 40000 \
         to 198.51.100.2 port 80 flags SA\n\
         \x20 block: @0 \"default\" blocks it arriving and leaving\n\
         \x20   @0 block drop log all label \"default\" (weir.conf:1)\n\
         bad.cases:7: expected pass, got block: in on wan inet proto tcp from 192.0.2.1 port 40000 \
         to 198.51.100.2 port 80 flags none\n\
         \x20 block: dropped before any IP rule is asked (tcp-flags): a combination of TCP flags that \
         no stack sends\n\
         11 cases, 5 failed\n"
    );
    assert_eq!(said.status, Some(1));
    let said = folder().weir("test -q --rules weir.conf bad.cases");
    assert_eq!((said.out.as_str(), said.status), ("", Some(1)));
}

#[test]
fn another_rule_than_the_expected_one_is_a_failure() {
    let cases = "pass in on lan proto tcp from 10.0.0.1 to 192.0.2.53 port 53 by \"web\"\n";
    let folder = Folder::with(&[("weir.conf", RULES), ("by.cases", cases)]);
    let said = folder.weir("test --rules weir.conf by.cases");
    assert_eq!(
        said.out,
        "by.cases:1: expected pass by \"web\", got it otherwise: in on lan inet proto tcp from \
         10.0.0.1 port 40000 to 192.0.2.53 port 53 flags S\n\
         \x20 pass: @3 passes it arriving, @5 leaving\n\
         \x20   @3 pass in on lan inet from 10.0.0.0/8 to any flags S/SA (weir.conf:3)\n\
         \x20   @5 pass out all flags S/SA (weir.conf:5)\n\
         \x20 nearest, in on lan: @1 \"web\" differs: on lan is not wan\n\
         \x20   @1 pass in quick on wan inet proto tcp from any to 198.51.100.2 port = 80 flags S/SA \
         label \"web\" (weir.conf:2)\n\
         1 case, 1 failed\n"
    );
}

#[test]
fn every_case_and_the_rate() {
    let said = folder().weir("test -v --rules weir.conf good.cases");
    let lines: Vec<_> = said.out.lines().collect();
    assert_eq!(lines.len(), 6);
    assert_eq!(
        lines[0],
        "good.cases:2: ok: pass in on wan inet proto tcp from 192.0.2.1 port 40000 to 198.51.100.2 \
         port 80 flags S by \"web\""
    );
    assert_eq!(lines[4], "4 cases, 0 failed");
    assert!(lines[5].ends_with(" cases a second"), "{}", lines[5]);
}

#[test]
fn ci_servers_can_read_the_results() {
    let folder = folder();
    let said = folder.weir("test -q --junit out.xml --rules weir.conf good.cases bad.cases");
    assert_eq!((said.errors.as_str(), said.status), ("", Some(1)));
    let text = folder.read("out.xml");
    let document = roxmltree::Document::parse(&text).unwrap();
    let root = document.root_element();
    assert_eq!((root.tag_name().name(), root.attribute("tests")), ("testsuites", Some("11")));
    assert_eq!((root.attribute("failures"), root.attribute("errors")), (Some("5"), Some("0")));
    let suites: Vec<_> = root.children().filter(|node| node.has_tag_name("testsuite")).collect();
    assert_eq!(suites.len(), 2);
    for (suite, tests, failures) in [(suites[0], "4", "0"), (suites[1], "7", "5")] {
        assert_eq!(suite.attribute("tests"), Some(tests));
        assert_eq!(suite.attribute("failures"), Some(failures));
        let cases = suite.children().filter(|node| node.has_tag_name("testcase"));
        assert_eq!(cases.count().to_string(), tests);
    }
    let sixth = suites[1].children().filter(|node| node.has_tag_name("testcase")).nth(5).unwrap();
    assert_eq!(sixth.attribute("line"), Some("6"));
    let name = sixth.attribute("name").unwrap();
    assert!(name.ends_with("flags SA by \"web & <more>\""), "{name}");
    let failure = sixth.first_element_child().unwrap();
    assert_eq!(failure.attribute("message"), Some("expected pass, got block"));
    assert!(failure.text().unwrap().contains("    @0 block drop log all label \"default\""));
}

#[test]
fn everything_that_is_wrong_is_told_in_one_run() {
    let folder = Folder::with(&[
        ("weir.conf", "pas\n"),
        ("one.cases", "pass in on lan proto tpc from 10.0.0.1 to 10.0.0.2\n"),
        ("two.cases", "# fine\npas in on lan proto udp from 10.0.0.1 to 10.0.0.2 port 1\n"),
    ]);
    let said = folder.weir("test --rules weir.conf one.cases none.cases two.cases");
    let errors: Vec<_> = said.errors.lines().collect();
    assert_eq!((said.out.as_str(), said.status), ("", Some(2)));
    assert_eq!(errors.len(), 4, "{errors:?}");
    assert!(errors[0].starts_with("weir.conf:1:1: "), "{errors:?}");
    assert!(errors[1].starts_with("one.cases:1:22: unknown protocol `tpc`"), "{errors:?}");
    assert!(errors[2].starts_with("none.cases: No such file"), "{errors:?}");
    assert!(errors[3].starts_with("two.cases:2:1: a case begins with"), "{errors:?}");
    let ports = Folder::with(&[
        ("weir.conf", "pass\n"),
        (
            "x.cases",
            "pass in on em7 proto 99 from ::1 to ::2\npass in on em8 proto 99 from ::1 to ::2\n",
        ),
    ]);
    let said = ports.weir("test --rules weir.conf x.cases");
    assert_eq!(
        said.errors,
        "x.cases:1: no port is called `em7`: there are `lan` and `wan`\n\
         x.cases:2: no port is called `em8`: there are `lan` and `wan`\n"
    );
    assert_eq!(said.status, Some(2));
    let both = ports.weir("test --rules - -");
    assert_eq!(both.status, Some(2));
    let named = ports.weir("test --rules weir.conf --lan em7 --wan em8 x.cases");
    assert_eq!((named.out.as_str(), named.status), ("2 cases, 0 failed\n", Some(0)));
}

/// A message of neighbour discovery that is too short would be dropped for that alone.
#[test]
fn guards_see_whole_messages() {
    let folder = Folder::with(&[
        ("weir.conf", "set neighbour-guard on lan 2001:db8::/64\nset router-guard on wan\npass\n"),
        (
            "guards.cases",
            "pass in on wan from fe80::1 to ff02::1 icmp6-type routeradv\n\
             pass in on wan from fe80::1 to fe80::2 icmp6-type redir\n\
             block in on lan from fe80::1 to ff02::1 icmp6-type routeradv\n\
             pass in on lan from 2001:db8::7 to ff02::1 icmp6-type neighbrsol\n\
             block in on wan from 2001:db8::7 to ff02::1 icmp6-type neighbrsol\n",
        ),
    ]);
    let said = folder.weir("test --rules weir.conf guards.cases");
    assert_eq!((said.status, &*said.errors), (Some(0), ""), "{}", said.out);
}
