//! From power to a prompt: firmware, boot loader, kernel and first process; on every kind of disk, from a
//! damaged slot, and when the power goes while the box boots.

use std::time::Duration;

use weir_tests::vm::{Appliance, Disk, Firmware, image};

/// Where the slots begin on the disk, and how long each is, in bytes (image/build/disk.sh).
const SLOT_A: u64 = 20_480 * 512;
const SLOT_B: u64 = 151_552 * 512;
const SLOT: usize = 131_072 * 512;
/// The ESP.
const ESP: u64 = 4096 * 512;
/// The rescue prompt's place in the boot loader's menu, and the other slot's.
const OTHER_SLOT: usize = 1;
const RESCUE: usize = 2;

/// A root's prompt on the console, of which every command's output and status are asked.
struct Prompt<'a>(&'a mut Appliance);

impl Prompt<'_> {
    fn run(&mut self, line: &str) -> String {
        // What is typed is echoed: the marks are put together by the shell.
        self.0.send(&format!("{line}; echo @'beg'in; {line}; echo @'en'd\r"));
        self.0.until("@begin\r\n");
        self.0.until("@end").replace('\r', "")
    }

    fn seconds(&mut self, line: &str) -> f64 {
        let said = self.run(line);
        said.trim().parse().unwrap_or_else(|error| panic!("{line}: {error}: {said:?}"))
    }
}

/// Waits for the rescue prompt, which is busybox's shell.
fn rescue(appliance: &mut Appliance) -> Prompt<'_> {
    appliance.until("rescue prompt.");
    appliance.until("# ");
    Prompt(appliance)
}

/// Boots to the rescue prompt, prints how long each stage took and how much memory is used.
fn to_the_prompt(firmware: Firmware, disk: Disk) {
    let Some(image) = image(&format!("{firmware:?} with {disk:?}")) else { return };
    let mut appliance = Appliance::new(&image);
    appliance.firmware = firmware;
    appliance.disk = disk;
    // OVMF leaves the boot loader too little of 256 MB for a kernel.
    appliance.megabytes = if firmware == Firmware::Uefi { 320 } else { 256 };
    appliance.power_on();
    appliance.until("ESC shows the menu");
    let firmware_took = appliance.on_for();
    appliance.reset();
    appliance.choose(RESCUE);
    let chosen = appliance.on_for();
    appliance.until("starting slot a");
    let mut prompt = rescue(&mut appliance);
    let up = prompt.seconds("cut -d ' ' -f 1 /proc/uptime");
    let at = prompt.0.on_for();
    let kernel = prompt
        .seconds("dmesg | sed -n 's/^\\[ *\\([0-9.]*\\)\\] Run .init as init process.*/\\1/p'");
    let loader = at.saturating_sub(chosen).as_secs_f64() - up;
    println!(
        "{firmware:?}, {disk:?}: firmware {:.1} s, loader {loader:.1} s, kernel {kernel:.1} s, \
         until the prompt was asked {:.1} s",
        firmware_took.as_secs_f64(),
        up - kernel,
    );
    let used = prompt.run("free -m | awk '/^Mem/ { print $2 - $7 }'");
    println!("memory that is not available: {} MB", used.trim());
    let used: u32 = used.trim().parse().expect("a number of MB");
    assert!(used <= 64, "{used} MB of memory are in use");
    assert!(prompt.run("grep -c ' / squashfs ro' /proc/mounts").contains('1'));
}

#[test]
fn a_disk_boots_by_bios() {
    to_the_prompt(Firmware::Bios, Disk::Ahci);
}

#[test]
fn a_disk_boots_by_uefi() {
    to_the_prompt(Firmware::Uefi, Disk::Virtio);
}

#[test]
fn a_stick_boots_by_bios() {
    to_the_prompt(Firmware::Bios, Disk::Usb);
}

#[test]
fn an_nvme_disk_boots_by_uefi() {
    to_the_prompt(Firmware::Uefi, Disk::Nvme);
}

/// How the boot loader's environment begins.
const HEAD: &[u8] = b"# GRUB Environment Block\n";

/// The ESP, and where in it the environment is: at the begin of a sector, since the boot loader's program
/// holds these words too.
fn esp_with_environment(appliance: &Appliance) -> (Vec<u8>, usize) {
    let esp = appliance.read(ESP, 16_384 * 512);
    let sector = esp.chunks(512).position(|sector| sector.starts_with(HEAD));
    (esp, sector.expect("an environment") * 512)
}

/// What the environment of the boot loader says, as it lies on the disk.
fn environment(appliance: &Appliance) -> String {
    let (esp, at) = esp_with_environment(appliance);
    String::from_utf8_lossy(&esp[at..at + 1024]).trim_end_matches('#').to_owned()
}

/// Gives the environment these lines, on the disk of a box that is off.
fn set_environment(appliance: &Appliance, lines: &str) {
    let (_, at) = esp_with_environment(appliance);
    let mut block = [HEAD, lines.as_bytes()].concat();
    block.resize(1024, b'#');
    appliance.overwrite(ESP + at as u64, &block);
}

#[test]
fn an_upgrade_that_does_not_load_is_tried_once_and_the_slot_before_boots() {
    let Some(image) = image("an upgrade that does not load") else { return };
    let mut appliance = Appliance::new(&image);
    // A slot that begins as one does, and has nothing behind it that makes sense.
    let mut slot = appliance.read(SLOT_A, SLOT);
    slot[96..].fill(0x5a);
    appliance.overwrite(SLOT_B, &slot);
    set_environment(&appliance, "good=a\nnext=b\n");
    appliance.power_on();
    appliance.until("starting slot b");
    appliance.until("weir: slot b does not load");
    appliance.until("starting slot a");
    appliance.cut_power();
    let left = environment(&appliance);
    assert!(left.contains("good=a\n") && !left.contains("next=b"), "{left}");
}

#[test]
fn a_slot_whose_kernel_is_gone_falls_back_to_the_other() {
    let Some(image) = image("a slot without a kernel") else { return };
    let mut appliance = Appliance::new(&image);
    let slot = appliance.read(SLOT_A, SLOT);
    appliance.overwrite(SLOT_B, &slot);
    appliance.overwrite(SLOT_A, &[0; 4096]);
    appliance.power_on();
    appliance.until("weir: slot a does not load");
    appliance.until("starting slot b");
    appliance.reset();
    appliance.choose(RESCUE);
    let mut prompt = rescue(&mut appliance);
    assert!(prompt.run("cat /proc/cmdline").contains("weir.slot=b"));
}

#[test]
fn a_torn_environment_means_slot_a() {
    let Some(image) = image("a torn environment") else { return };
    let mut appliance = Appliance::new(&image);
    set_environment(&appliance, "good=b\n");
    let (_, at) = esp_with_environment(&appliance);
    appliance.overwrite(ESP + at as u64, &[0; 512]);
    appliance.power_on();
    appliance.until("starting slot a");
}

#[test]
fn a_box_whose_power_goes_while_it_boots_boots_again() {
    let Some(image) = image("power cuts while booting") else { return };
    let mut appliance = Appliance::new(&image);
    set_environment(&appliance, "good=a\nnext=a\n");
    for mark in ["ESC shows the menu", "Booting `weir'", "starting slot a"] {
        appliance.power_on();
        appliance.until(mark);
        appliance.cut_power();
    }
    for after in [0, 500, 1500] {
        appliance.power_on();
        appliance.until("starting slot a");
        let from = appliance.on_for();
        while appliance.on_for() < from + Duration::from_millis(after) {
            std::thread::yield_now();
        }
        appliance.cut_power();
    }
    appliance.power_on();
    appliance.choose(OTHER_SLOT + 1);
    rescue(&mut appliance);
    drop(appliance);
}
