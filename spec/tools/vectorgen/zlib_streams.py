"""zlib streams for chunk.json, as data: see Z5 in belay-1.md.

Written once with zlib 1.2.13; another build would write other bytes."""

STREAMS = {
    "pattern-4096-level-9": {
        "comment": "pattern(4096), best compression",
        "stored":
        "78da6360646266616563e7e0e4e2e6e1e5e317101412161115139790949296"
        "9195935750545256515553d7d0d4d2d6d1d5d33730343236313533b7b0b4b2"
        "b6b1b5b37770747276717573f7f0f4f2f6f1f5f30f080c0a0e090d0b8f888c"
        "8a8e898d8b4f484c4a4e494d4bcfc8cccacec9cdcb2f282c2a2e292d2bafa8"
        "acaaaea9adab6f686c6a6e696d6befe8eceaeee9edeb9f3071d2e42953a74d"
        "9f3173d6ec3973e7cd5fb070d1e2254b972d5fb172d5ea356bd7addfb071d3"
        "e62d5bb76ddfb173d7ee3d7bf7ed3f70f0d0e123478f1d3f71f2d4e93367cf"
        "9dbf70f1d2e52b57af5dbf71f3d6ed3b77efdd7ff0f0d1e3274f9f3d7ff1f2"
        "d5eb376fdfbdfff0f1d3e72f5fbf7dfff1f317c3a8d747bd3eeaf551af8f7a"
        "7dd4eba35e1ff5faa8d747bd3eeaf551af8f7a7dd4eb23c5eb00f6a0b5b2"},
    "pattern-4096-level-1": {
        "comment": "pattern(4096), fastest",
        "stored":
        "78016360646266616563e7e0e4e2e6e1e5e317101412161115139790949296"
        "9195935750545256515553d7d0d4d2d6d1d5d33730343236313533b7b0b4b2"
        "b6b1b5b37770747276717573f7f0f4f2f6f1f5f30f080c0a0e090d0b8f888c"
        "8a8e898d8b4f484c4a4e494d4bcfc8cccacec9cdcb2f282c2a2e292d2bafa8"
        "acaaaea9adab6f686c6a6e696d6befe8eceaeee9edeb9f3071d2e42953a74d"
        "9f3173d6ec3973e7cd5fb070d1e2254b972d5fb172d5ea356bd7addfb071d3"
        "e62d5bb76ddfb173d7ee3d7bf7ed3f70f0d0e123478f1d3f71f2d4e93367cf"
        "9dbf70f1d2e52b57af5dbf71f3d6ed3b77efdd7ff0f0d1e3274f9f3d7ff1f2"
        "d5eb376fdfbdfff0f1d3e72f5fbf7dfff1f317c3a8d747637d34c18fe6f5d1"
        "626eb4841faddc46ebf5d126cd686b6eb4213bda861fedbe8cf6dc464aa715"
        "00f6a0b5b2"},
    "pattern-4096-huffman": {
        "comment": "Huffman codes only",
        "stored":
        "780105c1810140201440c155de04a66981e457225f116a7a77260aa5ad6e63"
        "aefa1e78fd482d9f17fa48e58ec26e4767d13061a250daea36e6aaef81d78f"
        "d4f279a18f54ee28ec7674160d13260aa5ad6e63aefa1e78fd482d9f17fa48"
        "e58ec26e4767d13061a250daea36e6aaef81d78fd4f279a18f54ee28ec7674"
        "160d13260aa5ad6e63aefa1e78fd482d9f17fa48e58ec26e4767d13061a250"
        "daea36e6aaef81d78fd4f279a18f54ee28ec7674160d13260aa5ad6e63aefa"
        "1e78fd482d9f17fa48e58ec26e4767d13061a250daea36e6aaef81d78fd4f2"
        "79a18f54ee28ec7674160d13260aa5ad6e63aefa1e78fd482d9f17fa48e58e"
        "c26e4767d13061a250daea36e6aaef81d78fd4f279a18f54ee28ec7674160d"
        "13260aa5ad6e63aefa1e78fd482d9f17fa48e58ec26e4767d13061a250daea"
        "36e6aaef81d78fd4f279a18f54ee28ec7674160d13260aa5ad6e63aefa1e78"
        "fd482d9f17fa48e58ec26e4767d13061a250daea36e6aaef81d78fd4f279a1"
        "8f54ee28ec7674160d13260aa5ad6e63aefa1e78fd482d9f17fa48e58ec26e"
        "4767d13061a250daea36e6aaef81d78fd4f279a18f54ee28ec7674160d1326"
        "0aa5ad6e63aefa1e78fd482d9f17fa48e58ec26e4767d13061a250daea36e6"
        "aaef81d78fd4f279a18f54ee28ec7674160d13260aa5ad6e63aefa1e78fd48"
        "2d9f17fa48e58ec26e4767d13061a250daea36e6aaef81d78fd4f279a18f54"
        "ee28ec7674160d13260aa5ad6e63aefa1e78fd482d9f17fa48e58ec26e4767"
        "d13061a250daea36e6aaef81d78fd4f279a18f54ee28ec7674160d13260aa5"
        "ad6e63aefa1e78fd482d9f17fa48e58ec26e4767d13061a250daea36e6aaef"
        "81d78fd4f279a18f54ee28ec7674160d13260aa5ad6e63aefa1e78fd482d9f"
        "17fa48e58ec26e4767d13061a250daea36e6aaef81d78fd4f279a18f54ee28"
        "ec7674160d13260aa5ad6e63aefa1e78fd482d9f17fa48e58ec26e4767d130"
        "61a250daea36e6aaef81d78fd4f279a18f54ee28ec7674160d13260aa5ad6e"
        "63aefa1e78fd482d9f17fa48e58ec26e4767d13061a250daea36e6aaef81d7"
        "8fd4f279a18f54ee28ec7674160d13260aa5ad6e63aefa1e78fd482d9f17fa"
        "48e58ec26e4767d13061a250daea36e6aaef81d78fd4f279a18f54ee28ec76"
        "74160d13260aa5ad6e63aefa1e78fd482d9f17fa48e58ec26e4767d13061a2"
        "50daea36e6aaef81d78fd4f279a18f54ee28ec7674160d13260aa5ad6e63ae"
        "fa1e78fd482d9f17fa48e58ec26e4767d13061a250daea36e6aaef81d78fd4"
        "f279a18f54ee28ec7674160d13260aa5ad6e63aefa1e78fd482d9f17fa48e5"
        "8ec26e4767d13061a250daea36e6aaef81d78fd4f279a18f54ee28ec767416"
        "0d13260aa5ad6e63aefa1e78fd482d9f17fa48e58ec26e4767d13061a250da"
        "ea36e6aaef81d78fd4f279a18f54ee28ec7674160d13260aa5ad6e63aefa1e"
        "78fd482d9f17fa48e58ec26e4767d13061a250daea36e6aaef81d78fd4f279"
        "a18f54ee28ec7674160d13260aa5ad6e63aefa1e78fd482d9f17fa48e58ec2"
        "6e4767d13061a250daea36e6aaef81d78fd4f279a18f54ee28ec7674160d13"
        "260aa5ad6e63aefa1e78fd482d9f17fa48e58ec26e4767d13061a250daea36"
        "e6aaef81d78fd4f279a18f54ee28ec7674160d13260aa5ad6e63aefa1e78fd"
        "482d9f17fa48e58ec26e4767d13061a250daea36e6aaef81d78fd4f279a18f"
        "54ee28ec7674160d13260aa5ad6e63aefa1e78fd482d9f17fa48e58ec26e47"
        "67d13061a250daea36e6aaef81d78fd4f279a18f54ee28ec7674160d13260a"
        "a5ad6e63aefa1e78fd482d9f17fa48e58ec26e4767d13061a250daea36e6aa"
        "ef81d78fd4f279a18f54ee28ec7674160d13260aa5ad6e63aefa1e78fd482d"
        "9f17fa48e58ec26e4767d13061a250daea36e6aaef81d78fd4f279a18f54ee"
        "28ec7674160d13260aa5ad6e63aefa1e78fd482d9f17fa48e58ec26e4767d1"
        "3061a250daea36e6aaef81d78fd4f279a18f54ee28ec7674160d13260aa5ad"
        "6e63aefa1e78fd482d9f17fa48e58ec26e4767d13061a250daea36e6aaef81"
        "d78fd4f279a18f54ee28ec7674160d13260aa5ad6e63aefa1e78fd482d9f17"
        "fa48e58ec26e4767d13061a250daea36e6aaef81d78fd4f279a18f54ee28ec"
        "7674160d13260aa5ad6e63aefa1e78fd482d9f17fa48e58ec26e4767d13061"
        "a250daea36e6aaef81d78fd4f279a18f54ee28ec7674160d13260aa5ad6e63"
        "aefa1e78fd482d9f17fa48e58ec26e4767d13061a250daea36e6aaef81d78f"
        "d4f279a18f54ee28ec7674160d13260aa5ad6e63aefa1e78fd482d9f17fa48"
        "e58ec26e4767d13061a250daea36e6aaef81d78fd4f279a18f54ee28ec7674"
        "160d13260aa5ad6e63aefa1e78fd482d9f17fa48e58ec26e4767d13061a250"
        "daea36e6aaef81d78fd4f279a18f54ee28ec7674160d13260aa5ad6e63aefa"
        "1e78fd482d9f17fa48e58ec26e4767d13061a250daea36e6aaef81d78fd4f2"
        "79a18f54ee28ec7674160d13260aa5ad6e63aefa1e78fd482d9f17fa48e58e"
        "c26e4767d13061a250daea36e6aaef81d78fd4f279a18f54ee28ec7674160d"
        "13260aa5ad6e63aefa1e78fd482d9f17fa48e58ec26e4767d13061a250daea"
        "36e6aaef81d78fd4f279a18f54ee28ec7674160d13260aa5ad6e63aefa1e78"
        "fd482d9f17fa48e58ec26e4767d13061a250daea36e6aaef81d78fd4f279a1"
        "8f54ee28ec7674160d13260aa5ad6e63aefa1e78fd482d9f17fa48e58ec26e"
        "4767d13061a250daea36e6aaef81d78fd4f279a18f54ee28ec7674160d1326"
        "0aa5ad6e63aefa1e78fd482d9f17fa48e58ec26e4767d13061a250daea36e6"
        "aaef81d78fd4f279a18f54ee28ec7674160d13260aa5ad6e63aefa1e78fd48"
        "2d9f17fa48e58ec26e4767d13061a250daea36e6aaef81d78fd4f279a18f54"
        "ee28ec7674160d13260aa5ad6e63aefa1e78fd482d9f17fa48e58ec26e4767"
        "d13061a250daea36e6aaef81d78fd4f279a18f54ee28ec7674160d13260aa5"
        "ad6e63aefa1e78fd482d9f17fa48e58ec26e4767d13061a250daea36e6aaef"
        "81d78fd4f279a18f54ee28ec7674160d13260aa5ad6e63aefa1e78fd482d9f"
        "17fa48e58ec26e4767d13061a250daea36e6aaef81d78fd4f279a18f54ee28"
        "ec7674160d13260aa5ad6e63aefa1e78fd482d9f17fa48e58ec26e4767d130"
        "61a250daea36e6aaef81d78fd4f279a18f54ee28ec7674160d13260aa5ad6e"
        "63aefa1e78fd482d9f17fa48e58ec26e4767d130617e5becbe7d"},
    "fixed-codes": {
        "comment": "fixed Huffman codes",
        "stored":
        "78010bc94855282ccd4cce56482aca2fcf5348cbaf50c82acd2d2856c82f4b"
        "2d5228014ae72456552aa4e4a7eb29848c2a1e553caa7854f1a8e251c5a38a"
        "47158f2a1e553caa7854f1a8e251c5a38a87a262005becbe7d"},
    "window-512": {
        "comment": "a window of 512 bytes",
        "stored":
        "18d3edca571180301445412b57016a628092d07921109a7ab0c1ccf9de759d"
        "d79afb7a5495ec5c14ecd290e7b8c90e9fb47f3c95cfadc6da428e4c2693c9"
        "6432994c2693c964f21ff30b5becbe7d"},
    "two-blocks": {
        "comment": "a full flush in the middle",
        "stored":
        "789c0ac94855282ccd4cce56482aca2fcf5348cbaf50c82acd2d2856c82f4b"
        "2d5228014ae72456552aa4e4a7eb29848c2a1e553caa7854f1a8e251c5a38a"
        "87836200000000ffff2b2856c82f4b2d5228c94855c849acaa5448c94fd753"
        "0801f20a4b3393b315928af2cbf314d2f22b14b24a730b46158f2a1e553caa"
        "7854f1a8e251c5c34131005becbe7d"},
    "pattern-chunk-1": {
        "comment": "chunk 1 of pattern(20000) at c = 12",
        "stored":
        "789c0b080c0a0e090d0b8f888c8a8e898d8b4f484c4a4e494d4bcfc8cccace"
        "c9cdcb2f282c2a2e292d2bafa8acaaaea9adab6f686c6a6e696d6befe8ecea"
        "eee9edeb9f3071d2e42953a74d9f3173d6ec3973e7cd5fb070d1e2254b972d"
        "5fb172d5ea356bd7addfb071d3e62d5bb76ddfb173d7ee3d7bf7ed3f70f0d0"
        "e123478f1d3f71f2d4e93367cf9dbf70f1d2e52b57af5dbf71f3d6ed3b77ef"
        "dd7ff0f0d1e3274f9f3d7ff1f2d5eb376fdfbdfff0f1d3e72f5fbf7dfff1f3"
        "17032313330b2b1b3b072717370f2f1fbf80a090b088a898b884a494b48cac"
        "9cbc82a292b28aaa9aba86a696b68eae9ebe81a191b189a999b985a595b58d"
        "ad9dbd83a393b38bab9bbb87a797b78faf9f7fc0a8d747bd3eeaf551af8f7a"
        "7dd4eba35e1ff5faa8d747bd3eeaf551af8f7a7dd4eb23c5eb002a78ceb2"},
    "zeros-16": {
        "comment": "sixteen zero bytes",
        "stored":
        "78da636040050000100001"},
    "zeros-64k": {
        "comment": "65536 zero bytes, ratio near the format's maximum",
        "stored":
        "78daedc101010000008090feafee080a000000000000000000000000000000"
        "00000000000000000000000000000000000000000000000000000000000000"
        "00000000000000000000000000000000006a000f0001"},
    "last-3616": {
        "comment": "the last chunk of pattern(20000) at c = 12",
        "stored":
        "789c737573f7f0f4f2f6f1f5f30f080c0a0e090d0b8f888c8a8e898d8b4f48"
        "4c4a4e494d4bcfc8cccacec9cdcb2f282c2a2e292d2bafa8acaaaea9adab6f"
        "686c6a6e696d6befe8eceaeee9edeb9f3071d2e42953a74d9f3173d6ec3973"
        "e7cd5fb070d1e2254b972d5fb172d5ea356bd7addfb071d3e62d5bb76ddfb1"
        "73d7ee3d7bf7ed3f70f0d0e123478f1d3f71f2d4e93367cf9dbf70f1d2e52b"
        "57af5dbf71f3d6ed3b77efdd7ff0f0d1e3274f9f3d7ff1f2d5eb376fdfbdff"
        "f0f1d3e72f5fbf7dfff1f317032313330b2b1b3b072717370f2f1fbf80a090"
        "b088a898b884a494b48cac9cbc82a292b28aaa9aba86a696b68eae9ebe81a1"
        "91b189a999b985a595b58dad9dbd83a393b38beba8d747bd3eeaf551af8f7a"
        "7dd4eba35e1ff5faa8d747bd3eeaf551af8f7a1de175007b6ce3ca"},
    "empty-last-block": {
        "comment": "an empty block before the end",
        "stored":
        "789c0ac94855282ccd4cce56482aca2fcf5348cbaf50c82acd2d2856c82f4b"
        "2d5228014ae72456552aa4e4a7eb29848c2a1e553caa7854f1a8e251c5a38a"
        "07a36200000000ffff0300bbadce06"},
}

# A stream that zlib reads only with the dictionary "belay".
NEEDS_DICTIONARY = (
    "78f90602020eedc4310d00000c03a069ad7f1153d1f481834892244992a479"
    "57f6727268fb")
