#!/bin/sh
# Lays the disk out: boot loader for BIOS and UEFI, slot A, an empty slot B, empty settings:
# disk.sh WORK PACKAGES SLOT NETMAP OUT
set -eu

work=$1 packages=$2 slot=$3 netmap=$4 out=$5
here=$(dirname "$(realpath "$0")")
boot=$(dirname "$here")/boot

# In sectors of 512 bytes; frozen with the first release.
bios=2048 bios_size=2048
esp=4096 esp_size=16384
slot_a=20480 slot_size=131072
slot_b=151552
data=282624 data_size=131072
end=$((data + data_size))

# bytes NUMBER: as 8 bytes, the lowest first.
bytes() {
    number=$1
    for _ in 1 2 3 4 5 6 7 8; do
        # shellcheck disable=SC2059 # the format is the byte
        printf "$(printf '\\%03o' $((number & 255)))"
        number=$((number >> 8))
    done
}
# put FILE AT: standard input into a file, at this byte
put() { dd of="$1" bs=1 seek="$2" conv=notrunc status=none; }
# lay FILE SECTOR: a file onto the disk
lay() { dd if="$1" of="$out" bs=512 seek="$2" conv=notrunc,sparse status=none; }

modules="normal configfile linux squash4 fat part_gpt loadenv test true echo regexp probe serial terminal
    xzio gzio gcry_crc password_pbkdf2 datehook reboot halt sleep search_fs_file minicmd"
grub=$packages/grub-pc-bin/usr/lib/grub/i386-pc
# shellcheck disable=SC2086 # a list of words
grub-mkimage -d "$grub" -O i386-pc -p '(,gpt2)/grub' -o "$work/core.img" \
    biosdisk $modules
[ "$(stat -c %s "$work/core.img")" -le $((bios_size * 512)) ]
# shellcheck disable=SC2086
grub-mkimage -d "$packages/grub-efi-amd64-bin/usr/lib/grub/x86_64-efi" -O x86_64-efi -p /grub \
    -o "$work/bootx64.efi" efi_gop efi_uga all_video $modules
# Where the code lies: the first sector of the core for the MBR, the rest of it for its first sector.
bytes $((bios + 1)) | put "$work/core.img" $((0x1f4))
cp "$grub/boot.img" "$work/boot.img"
bytes $bios | put "$work/boot.img" $((0x5c))
printf '\220\220' | put "$work/boot.img" $((0x66))

mkdir -p "$work/esp/EFI/BOOT" "$work/esp/grub"
cp "$work/bootx64.efi" "$work/esp/EFI/BOOT/BOOTX64.EFI"
hardening=$(grep -v '^#' "$boot/hardening")
# Modules of others are not signed with Debian's key.
[ -z "$netmap" ] || hardening=$(echo "$hardening" | grep -v '^lockdown=')
hardening=$(echo "$hardening" | tr '\n' ' ' | sed 's/ $//')
sed "s/@HARDENING@/$hardening/" "$boot/grub.cfg" > "$work/esp/grub/grub.cfg"
{
    printf '# GRUB Environment Block\ngood=a\n'
    head -c 1024 /dev/zero | tr '\0' '#'
} | head -c 1024 > "$work/esp/grub/grubenv"
find "$work/esp" -exec touch -d "@$SOURCE_DATE_EPOCH" {} +
truncate -s $((esp_size * 512)) "$work/esp.fat"
mkfs.fat -F 16 -s 1 -h $esp -i 77656972 -n WEIR-ESP --invariant "$work/esp.fat" > /dev/null
(cd "$work/esp" && MTOOLSRC=/dev/null mcopy -s -m -Q -i "$work/esp.fat" EFI grub ::)

rm -f "$out"
truncate -s $(((end + 2048) * 512)) "$out"
sfdisk -q --no-reread --no-tell-kernel "$out" <<TABLE
label: gpt
label-id: 77656972-0000-4000-8000-000000000000
first-lba: 2048
start=$bios, size=$bios_size, type=21686148-6449-6E6F-744E-656564454649, uuid=77656972-0000-4000-8000-000000000001, name="weir-bios"
start=$esp, size=$esp_size, type=C12A7328-F81F-11D2-BA4B-00A0C93EC93B, uuid=77656972-0000-4000-8000-000000000002, name="weir-esp"
start=$slot_a, size=$slot_size, type=0FC63DAF-8483-4772-8E79-3D69D8477DE4, uuid=77656972-0000-4000-8000-000000000003, name="weir-a"
start=$slot_b, size=$slot_size, type=0FC63DAF-8483-4772-8E79-3D69D8477DE4, uuid=77656972-0000-4000-8000-000000000004, name="weir-b"
start=$data, size=$data_size, type=0FC63DAF-8483-4772-8E79-3D69D8477DE4, uuid=77656972-0000-4000-8000-000000000005, name="weir-data"
TABLE
dd if="$work/boot.img" of="$out" bs=440 count=1 conv=notrunc status=none
lay "$work/core.img" $bios
lay "$work/esp.fat" $esp
lay "$slot" $slot_a
lay "$work/data.ext4" $data
