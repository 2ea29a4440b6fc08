#!/bin/sh
# Makes the empty file system of the data partition, as it is before the first boot: data.sh FILE
set -eu

# It grows with its disk: room for descriptors of up to a TiB.
rm -f "$1"
truncate -s 64M "$1"
# Nothing of this machine's own defaults.
printf '[fs_types]\n\text4 = {\n\t\tinode_size = 256\n\t}\n\tsmall = {\n\t\tblocksize = 4096\n\t}\n' > "$1.conf"
E2FSPROGS_FAKE_TIME=$SOURCE_DATE_EPOCH MKE2FS_CONFIG=$1.conf mke2fs -q -F -t ext4 -b 4096 -I 256 -m 0 \
    -L weir-data -U 77656972-6461-7461-0000-000000000001 \
    -O has_journal,ext_attr,resize_inode,dir_index,filetype,extent,64bit,flex_bg,sparse_super,large_file,huge_file,dir_nlink,extra_isize,metadata_csum \
    -E "hash_seed=77656972-6461-7461-0000-000000000002,resize=268435456,lazy_itable_init=0,lazy_journal_init=0,root_owner=0:0" \
    -J size=4 "$1"
rm "$1.conf"
