#!/usr/bin/env perl
# A small Belay downloader in Perl, core modules only, written from the text
# in spec/ alone.
#
#     mini.pl [--give-up SECONDS] belay+tcp://HOST[:PORT]/PATH[#bl1-..] FILE
#
# It follows belay-1 section 19: the whole question goes out in one write, and
# answers are read as they come.  It takes raw, zlib and zero-fill chunks,
# resumes from FILE.part with FILE.state, compares digests where a token
# proves nothing, and survives a changed file.  Marks such as R3 are rules of
# belay-1.md.  Exit status: 0 done, 1 failed, 2 wrong use.

use strict;
use warnings;

use Compress::Raw::Zlib qw(crc32 Z_STREAM_END);
use Digest::SHA qw(sha256);
use IO::Handle;
use IO::Select;
use IO::Socket::IP;
use Socket qw(IPPROTO_TCP TCP_NODELAY);
use Time::HiRes qw(time sleep);

my $MAGIC = pack 'H*', '89424c590d0a1a0a';
my %TYPE = (HELLO => 1, PING => 3, PONG => 4, GOAWAY => 5, OPEN => 0x10,
            GET => 0x12, DIGEST => 0x13, INFO => 0x40, CHUNK => 0x42,
            DIGESTS => 0x43, DONE => 0x44, ERROR => 0x45);
my %NAME = reverse %TYPE;
my %ANSWERS = (OPEN => 'INFO', GET => 'CHUNK DONE', DIGEST => 'DIGESTS DONE');
my ($T_MAX_CHUNK, $T_CODECS, $T_AGENT, $T_EXPECT_VERSION, $T_EXPECT_CID,
    $T_VERSION, $T_CID, $T_RETRY) =
    (0x0001, 0x0005, 0x0008, 0x8021, 0x8022, 0x0030, 0x0031, 0x0041);
my ($UNSUPPORTED, $BAD_HANDLE, $IO_ERROR, $CHANGED, $CHANGED_DURING) =
    (0x0102, 0x0108, 0x0502, 0x0301, 0x0302);
my ($PERMANENT, $TRANSIENT, $STALE, $ACCESS, $SERVER, $PROTOCOL, $CANCELLED) =
    1 .. 7;
my ($C_MIN, $C_MAX, $MAX_RANGES) = (12, 22, 64);

# Problems are thrown: no repeat helps; dial again; one request was refused.
sub failed { die { what => 'failed', why => $_[0] } }
sub lost { die { what => 'lost', why => $_[0], class => $_[1] || $SERVER } }
sub refused { die { what => 'refused', code => $_[0], wait => $_[1],
                    why => sprintf 'error 0x%04x', $_[0] } }

# -- identity (belay-id-1) ----------------------------------------------------

sub chunks { my ($size, $c) = @_; return ($size + (1 << $c) - 1) >> $c }

sub chunk_len {
    my ($size, $c, $i) = @_;
    my $rest = $size - ($i << $c);
    return $rest < 1 << $c ? $rest : 1 << $c;
}

# The one-pass form: a stack of complete subtrees.
sub root_of {
    my @stack;
    for my $i (0 .. $#_) {
        push @stack, $_[$i];
        for (my $bits = $i; $bits & 1; $bits >>= 1) {
            fold(\@stack);
        }
    }
    fold(\@stack) while @stack > 1;
    return @stack ? $stack[0] : sha256('');
}

sub fold {
    my ($stack) = @_;
    my $right = pop @$stack;
    push @$stack, sha256("\x01" . pop(@$stack) . $right);
}

sub cid_of {
    my ($size, $c, @digests) = @_;
    my @leaves = map { sha256(pack 'C Q> N a32', 0, $_ << $c,
                              chunk_len($size, $c, $_), $digests[$_]) }
        0 .. $#digests;
    return sha256(pack 'C4 Q> a32', 2, 1, $c, 0, $size, root_of(@leaves));
}

# -- one connection -----------------------------------------------------------

sub frame {
    my ($name, $id, $payload) = @_;
    my $head = pack 'N C C n N', length $payload, $TYPE{$name}, 0, 0, $id;
    return $head . pack('N', crc32($head . $payload)) . $payload;
}

sub tlv { return pack 'n n/a*', @_ }

# Section 7: the lengths of the TLVs that a server may send.
my %FILE_TLVS = ($T_VERSION => [1, 32], $T_CID => [32, 32], 0x32 => [32, 32]);
my %LENGTHS = (
    HELLO => { 1 => [1, 1], 2 => [2, 2], 3 => [2, 2], 4 => [2, 2],
               5 => [1, 32], 6 => [2, 2], 7 => [2, 2], 8 => [1, 128],
               9 => [1, 32], 10 => [2, 128] },
    INFO => { %FILE_TLVS }, DONE => { %FILE_TLVS }, DIGESTS => {},
    ERROR => { 12 => [2, 64], $T_VERSION => [1, 32], $T_CID => [32, 32],
               0x40 => [1, 512], $T_RETRY => [4, 4], 0x42 => [8, 8],
               0x44 => [8, 8] });

# Type -> value; X1, F3b: ascending, complete, of the lengths of section 7, and
# no critical one, since none is known in answers.
sub tlvs {
    my ($data, $of) = @_;
    my ($last, %found) = (-1);
    while (length $data) {
        lost('malformed TLVs', $PROTOCOL) if length $data < 4;
        my ($kind, $len) = unpack 'n n', $data;
        lost('malformed TLVs', $PROTOCOL)
            if $kind <= $last || $kind & 0x8000 || length $data < 4 + $len;
        my $allowed = $LENGTHS{$of}{$kind} || [0, $len];
        lost('malformed TLVs', $PROTOCOL)
            if $len < $allowed->[0] || $len > $allowed->[1];
        $found{$kind} = substr $data, 4, $len;
        substr $data, 0, 4 + $len, '';
        $last = $kind;
    }
    return \%found;
}

sub dial {
    my ($host, $port) = @_;
    my $sock = IO::Socket::IP->new(PeerHost => $host, PeerPort => $port,
                                   Timeout => 10)
        or lost("cannot connect: $@");
    setsockopt $sock, IPPROTO_TCP, TCP_NODELAY, 1;
    binmode $sock;
    my $head = $MAGIC . pack 'n C C', 1, 0x43, 0;
    my $hello = tlv($T_MAX_CHUNK, chr $C_MAX) . tlv($T_CODECS, "\0\1\2") .
        tlv($T_AGENT, 'mini.pl') . tlv(0x3A3A, 'grease');
    return { sock => $sock, in => '', out => $head . pack('N', crc32 $head) .
             frame('HELLO', 0, $hello), last => 0, asked => {}, greeted => 0 };
}

sub flush_out {
    my ($l) = @_;
    local $SIG{PIPE} = 'IGNORE';
    while (length $l->{out}) {
        my $n = syswrite $l->{sock}, $l->{out};
        lost("cannot send: $!") if !$n;
        substr $l->{out}, 0, $n, '';
    }
}

# Queues a request; several leave in one write.
sub ask {
    my ($l, $name, $payload) = @_;
    lost('the server went away') if $l->{gone};
    my $id = ++$l->{last};
    $l->{asked}{$id} = $name;
    $l->{out} .= frame($name, $id, $payload);
    return $id;
}

sub take {
    my ($l, $n) = @_;
    while (length $l->{in} < $n) {
        # T6 and T7 in one, since this client sends no PING of its own.
        IO::Select->new($l->{sock})->can_read(45) or lost('silence');
        my $got = sysread $l->{sock}, $l->{in}, 65536, length $l->{in};
        lost('end of stream') if !$got;         # C2: never a success
    }
    return substr $l->{in}, 0, $n, '';
}

sub read_preface {
    my ($l) = @_;
    # V2c: a peer that speaks something else may never send 16 bytes.
    for my $n (1 .. 8) {
        take_until($l, $n);
        failed('this is not a Belay server')
            if substr($l->{in}, 0, $n) ne substr($MAGIC, 0, $n);
    }
    my $data = take($l, 16);
    my ($version, $role, $flags, $crc) = unpack 'x8 n C C N', $data;
    lost('a damaged preface') if $crc != crc32(substr $data, 0, 12);
    failed('the peer is a client, too') if $role != 0x53;
    failed("the server speaks version $version only")
        if $flags & 1 || $version != 1;         # V1d
}

sub take_until {
    my ($l, $n) = @_;
    my $seen = take($l, $n);
    substr $l->{in}, 0, 0, $seen;
}

# F3a: length, CRC, type; the rest is for who asked.
sub read_frame {
    my ($l) = @_;
    my $head = take($l, 16);
    my ($len, $type, $flags, $id, $crc) = unpack 'N C C x2 N N', $head;
    my $name = $NAME{$type} || '';
    lost('frame too large', $PROTOCOL)
        if $len > ($name eq 'CHUNK' ? 56 + (1 << $C_MAX) : 65535);
    my $payload = take($l, $len);
    my $covered = $name eq 'CHUNK' ? substr $payload, 0, 56 : $payload;
    lost('wrong CRC') if $crc != crc32(substr($head, 0, 12) . $covered);
    return { type => $type, name => $name, id => $id, end => $flags & 1,
             body => $payload };
}

# The next frame that answers a request; all others are dealt with here.
sub next_answer {
    my ($l) = @_;
    flush_out($l);
    if (!$l->{greeted}) {
        read_preface($l);
    }
    while (1) {
        my $f = read_frame($l);
        my ($name, $id) = @$f{qw(name id)};
        if (!$l->{greeted} && $name ne 'HELLO' && $name ne 'GOAWAY' &&
            !($name eq 'ERROR' && !$id)) {
            lost('no HELLO', $PROTOCOL);        # H1a
        }
        if ($f->{type} >= 0x80 || $name eq 'PONG') {
            next;                               # F5a, C5
        }
        lost('malformed', $PROTOCOL) if $name =~ /^(?:PING|GOAWAY)$/ &&
            ($id || length $f->{body} < 8);
        if ($name eq 'HELLO') {
            lost('a second HELLO', $PROTOCOL) if $l->{greeted}++ || $id;
            tlvs($f->{body}, 'HELLO');
        } elsif ($name eq 'PING') {
            $l->{out} .= frame('PONG', 0, $f->{body});
            flush_out($l);
        } elsif ($name eq 'GOAWAY') {
            on_goaway($l, $f);
        } elsif ($name eq 'ERROR' && !$id) {
            my ($code, $wait) = error_of($f);
            my $class = $code >> 8;
            failed(sprintf 'the server ends it: error 0x%04x', $code)
                if $class == $ACCESS || !class_known($class) ||
                $class == $PERMANENT;
            die { what => 'lost', class => $class, wait => $wait,
                  why => sprintf 'the server ends it: 0x%04x', $code };
        } else {
            return checked_answer($l, $f);
        }
    }
}

sub on_goaway {
    my ($l, $f) = @_;
    $l->{gone} = 1;
    my ($last) = unpack 'N', $f->{body};
    # C6: what is above was never asked.
    lost('the server goes away') if !$l->{greeted} || $l->{last} > $last;
}

# F6d, F7b
sub checked_answer {
    my ($l, $f) = @_;
    my $asked = $l->{asked}{$f->{id}};
    lost(sprintf('frame 0x%02x answers nothing', $f->{type}), $PROTOCOL)
        if !$asked || !$f->{name} ||
        $f->{name} ne 'ERROR' && $ANSWERS{$asked} !~ /\b$f->{name}\b/;
    lost('END in the wrong place', $PROTOCOL)
        if $f->{name} ne 'DIGESTS' && $f->{end} == ($f->{name} eq 'CHUNK');
    delete $l->{asked}{$f->{id}} if $f->{end};
    return $f;
}

sub class_known { return $_[0] >= $PERMANENT && $_[0] <= $CANCELLED }

sub error_of {
    my ($f) = @_;
    lost('malformed', $PROTOCOL) if length $f->{body} < 4;
    my $code = unpack 'n', $f->{body};
    my $told = tlvs(substr($f->{body}, 4), 'ERROR')->{$T_RETRY};
    return ($code, defined $told ? unpack('N', $told) / 1000 : 0.25);
}

# -- one file -----------------------------------------------------------------

my %s;                  # what is known of the file; step by step section 13
my ($part, $state, $fh);
my ($pin_c, $pin);

sub local_bytes {
    my ($at, $len) = @_;
    seek $fh, $at, 0;
    my $data = '';
    read $fh, $data, $len;
    return $data;
}

sub local_chunk { return local_bytes($_[0] << $s{c},
                                     chunk_len($s{size}, $s{c}, $_[0])) }

sub missing {
    return grep { !exists $s{have}{$_} } 0 .. chunks($s{size}, $s{c}) - 1;
}

# Sorted, joined, at most as many as every server takes.
sub missing_ranges {
    return [[0, ~0]] if !defined $s{size};      # GET_TO_END
    my @ranges;
    for my $i (missing()) {
        my ($at, $len) = ($i << $s{c}, chunk_len($s{size}, $s{c}, $i));
        if (@ranges && $ranges[-1][0] + $ranges[-1][1] == $at) {
            $ranges[-1][1] += $len;
        } elsif (@ranges == $MAX_RANGES) {
            last;
        } else {
            push @ranges, [$at, $len];
        }
    }
    return \@ranges;
}

sub save_state {
    return if !defined $s{size};
    $fh->flush;
    $fh->sync;
    open my $out, '>', "$state.new" or failed("$state.new: $!");
    print $out join(' ', 'belay-mini', @s{qw(size c strong weak)},
                    unpack('H*', $s{version}), unpack('H*', $s{cid}) || '-',
                    $s{source}), "\n";
    print $out "$_ ", unpack('H*', $s{have}{$_}), "\n" for keys %{$s{have}};
    $out->flush;
    $out->sync;
    close $out;
    rename "$state.new", $state or failed("$state: $!");
    $s{saved} = time;
}

# R4d: the state only says where to look; the bytes decide.
sub load_state {
    my ($source) = @_;
    %s = (size => undef, c => 0, version => '', cid => '', strong => 0,
          weak => 0, have => {}, saved => 0, source => $source);
    open my $in, '<', $state or return;
    my $line = <$in>;
    return if !defined $line || $line !~
        /^belay-mini\ (\d+)\ (\d+)\ ([01])\ ([01])\ ([0-9a-f]+)
         \ (-|[0-9a-f]{64})\ (.*)$/x || $7 ne $source;
    @s{qw(size c strong weak)} = ($1, $2, $3, $4);
    $s{version} = pack 'H*', $5;
    $s{cid} = $6 eq '-' ? '' : pack 'H*', $6;
    while (my $row = <$in>) {
        $row =~ /^(\d+) ([0-9a-f]{64})$/ && $1 < chunks($s{size}, $s{c})
            or next;
        my ($i, $d) = ($1, pack 'H*', $2);
        $s{have}{$i} = $d if sha256(local_chunk($i)) eq $d;
    }
}

# R6c: kept bytes on another grid; a chunk counts when kept ones cover it.
sub regrid {
    my ($c) = @_;
    my $old = $s{c};
    my %have;
    for my $i (0 .. chunks($s{size}, $c) - 1) {
        my $len = chunk_len($s{size}, $c, $i);
        my ($from, $to) = ($i << $c >> $old, (($i << $c) + $len - 1) >> $old);
        next if grep { !exists $s{have}{$_} } $from .. $to;
        $have{$i} = sha256(local_bytes($i << $c, $len));
    }
    @s{qw(have c cid)} = (\%have, $c, '');
}

sub open_payload {
    my ($handle, $expect, $path) = @_;
    my $want = $s{no_want} ? 0 : $s{c} || $pin_c || 0;
    my $more = '';
    my $cid = $pin && $want == $pin_c ? $pin : $s{cid};
    $more .= tlv($T_EXPECT_VERSION, $s{version})
        if $expect && $s{version} ne '';
    $more .= tlv($T_EXPECT_CID, $cid)
        if $want && $cid ne '' && ($expect || $pin && $want == $pin_c);
    return ($want, pack('N C C n/a*', $handle, 0, $want, $path) . $more);
}

sub get_payload {
    my ($handle, $ranges) = @_;
    return pack 'N C C n (Q> Q>)*', $handle, 3, 0, scalar @$ranges,
        map { @$_ } @$ranges;
}

# N2a, O14, I3
sub read_info {
    my ($f, $handle, $want) = @_;
    lost('malformed', $PROTOCOL) if length $f->{body} < 32;
    my ($got, $type, $c, $flags, $size, $ns) =
        unpack 'N C C n Q> x8 N', $f->{body};
    my $more = tlvs(substr($f->{body}, 32), 'INFO');
    lost('INFO breaks N2a', $PROTOCOL)
        if $got != $handle || $type != 1 || !defined $more->{$T_VERSION} ||
        $c < $C_MIN || $c > $C_MAX || $want && $c != $want || $size >> 63 ||
        $ns >= 1e9 || chunks($size, $c) > 1 << 32;
    my $cid = $more->{$T_CID};
    return { size => $size, c => $c, strong => $flags & 1,
             version => $more->{$T_VERSION}, cid => defined $cid ? $cid : '' };
}

# The complete list, checked against INFO's CID where there is one (R4b).
sub digest_list {
    my ($l, $handle, $size, $c, $cid) = @_;
    my ($id, @list) = ask($l, 'DIGEST',
                          pack 'N C C n Q> N N', $handle, 32, 0, 0, 0, 1, 0);
    while (1) {
        my $f = answer_to($l, $id);
        last if $f->{name} eq 'DONE';
        my ($first, $n, $proof, $log2) = unpack 'Q> N C C', $f->{body};
        lost('DIGESTS break D9', $PROTOCOL)
            if length $f->{body} < 16 || $first != @list || $n < 1 ||
            $n > 2000 || $proof || $log2 != 32 ||
            length $f->{body} < 16 + 32 * $n;
        tlvs(substr($f->{body}, 16 + 32 * $n), 'DIGESTS');
        push @list, unpack "x16 (a32)$n", $f->{body};
        last if $f->{end};
    }
    lost('DIGESTS break D9', $PROTOCOL) if @list != chunks($size, $c);
    my $named = cid_of($size, $c, @list);
    failed('the server contradicts itself')     # R10b
        if $cid ne '' && $cid ne $named;
    return ($named, @list);                     # R5c: it counts as named
}

# R4c: a kept chunk stays, or is copied to where the list wants it.
sub compare {
    my ($old, $named, @list) = ($s{have}, @_);
    $s{listed} = $named;
    my (%source, @moves);
    $source{$old->{$_}} = $_ for keys %$old;
    $s{have} = {};
    for my $i (0 .. $#list) {
        if (defined $old->{$i} && $old->{$i} eq $list[$i]) {
            $s{have}{$i} = $list[$i];
        } elsif (defined $source{$list[$i]}) {
            push @moves, [$i, $source{$list[$i]}];
        }
    }
    # A source that an earlier copy overwrote fails its hash and is fetched.
    for my $move (sort { $a->[0] <=> $b->[0] } @moves) {
        my ($to, $from) = @$move;
        my $data = local_bytes($from << $s{c},
                               chunk_len($s{size}, $s{c}, $to));
        next if sha256($data) ne $list[$to];
        seek $fh, $to << $s{c}, 0;
        print $fh $data;
        $s{have}{$to} = $list[$to];
    }
}

# The next frame of one answer; a refusal of it is thrown.  Answers to other
# requests may come first (L2b); here these can only be refusals.
sub answer_to {
    my ($l, $id) = @_;
    my $held = delete $l->{held}{$id};
    while (1) {
        my $f = $held || next_answer($l);
        $held = undef;
        if ($f->{id} == $id) {
            refused(error_of($f)) if $f->{name} eq 'ERROR';
            return $f;
        }
        lost('an answer nobody waits for', $PROTOCOL) if $f->{name} ne 'ERROR';
        $l->{held}{$f->{id}} = $f;
    }
}

# G4, from top to bottom.
sub accept_chunk {
    my ($body, $get) = @_;
    lost('malformed', $PROTOCOL) if length $body < 56;
    my ($at, $raw, $stored, $handle, $codec, $digest) =
        unpack 'Q> N N N C x3 a32', $body;
    my $i = $at >> $s{c};
    my $size = 1 << $s{c};
    lost('CHUNK breaks G4', $PROTOCOL)
        if $handle != $get->{handle} || $at & $size - 1 || $at >= $s{size} ||
        $i <= $get->{last} || $raw != chunk_len($s{size}, $s{c}, $i) ||
        $stored != length($body) - 56 ||
        !grep { $_->[0] < $at + $raw && ($_->[1] == ~0 ||
                                         $at < $_->[0] + $_->[1]) }
            @{$get->{ranges}};
    my $data = decoded($codec, substr($body, 56), $raw);
    if (!defined $data || sha256($data) ne $digest) {
        failed("chunk $i is damaged again") if ++$s{damage}{$i} >= 3;   # R9
        lost("chunk $i is damaged");
    }
    seek $fh, $at, 0;                           # G4i
    print $fh $data;
    $s{have}{$i} = $digest;
    $get->{last} = $i;
    $get->{chunks}++;
    $get->{bytes} += $raw;
    save_state() if time > $s{saved} + 2;
}

# Z1, Z3; undef when the data does not decode.
sub decoded {
    my ($codec, $data, $raw) = @_;
    if ($codec == 0 && length $data == $raw) {
        return $data;
    } elsif ($codec == 2 && $data eq '') {
        return "\0" x $raw;
    } elsif ($codec == 1 && length $data >= 8 && length $data < $raw) {
        my ($z) = Compress::Raw::Zlib::Inflate->new(
            -LimitOutput => 1, -Bufsize => $raw + 1, -WindowBits => 15);
        my ($out, $verdict) = ('');
        do {
            my $before = length $out;
            $verdict = $z->inflate($data, my $more);
            $out .= $more if defined $more;
            return undef if length $out > $raw || $verdict != Z_STREAM_END &&
                length $out == $before;
        } while ($verdict != Z_STREAM_END);
        return length $out == $raw && $data eq '' ? $out : undef;
    }
    lost('CHUNK breaks G4e', $PROTOCOL);
}

# Reads one GET to its DONE.
sub fetch {
    my ($l, $id, $handle, $ranges) = @_;
    my $get = { handle => $handle, ranges => $ranges, last => -1, chunks => 0,
                bytes => 0 };
    while (1) {
        my $f = answer_to($l, $id);
        if ($f->{name} eq 'CHUNK') {
            accept_chunk($f->{body}, $get);
            next;
        }
        lost('malformed', $PROTOCOL) if length $f->{body} < 16;
        my ($chunks, $bytes) = unpack 'Q> Q>', $f->{body};
        my $more = tlvs(substr($f->{body}, 16), 'DONE');
        my $left = grep { my $at = $_ << $s{c}; grep {
            $_->[0] <= $at && ($_->[1] == ~0 || $at < $_->[0] + $_->[1])
        } @$ranges } missing();
        lost('DONE breaks G9', $PROTOCOL)
            if $chunks != $get->{chunks} || $bytes != $get->{bytes} || $left;
        my ($version, $cid) = @$more{$T_VERSION, $T_CID};
        refused($CHANGED_DURING)                # G10
            if defined $version && $version ne $s{version} ||
            defined $cid && $s{cid} ne '' && $cid ne $s{cid};
        $s{cid} = $cid if defined $cid;
        return;
    }
}

# Steps 1 to 4: OPEN, in the same write the GET that is likely to fit.
sub open_file {
    my ($l, $path) = @_;
    my $known = defined $s{size};
    for my $handle (1 .. 5) {
        my $expect = !$s{stale};
        my ($want, $payload) = open_payload($handle, $expect, $path);
        my $id = ask($l, 'OPEN', $payload);
        my $ranges = $s{stale} ? [] : missing_ranges();
        my $get = @$ranges && ask($l, 'GET', get_payload($handle, $ranges));
        my $f = eval { answer_to($l, $id) };
        if (my $error = $@) {
            die $error if $error->{what} ne 'refused';
            eval { answer_to($l, $get); 1 } or
                $@->{what} eq 'refused' or die $@ if $get;
            if ($error->{code} == $UNSUPPORTED && $want) {
                @s{qw(no_want stale)} = (1, $known);    # R4a, R11c
                next;
            }
            die $error if $error->{code} >> 8 != $STALE;
            failed('changed: not the pinned content')   # R11a
                if $pin && $want == $pin_c;
            die $error if $s{stale};
            $s{stale} = 1;
            next;
        }
        my $info = read_info($f, $handle, $want);
        adopt($l, $handle, $info, $known);
        return ($handle, $get, $ranges);
    }
    lost('no OPEN succeeds');
}

# N2b, R2, R3: what of the kept chunks counts under this INFO?
sub adopt {
    my ($l, $handle, $info, $known) = @_;
    my $same = $known && $info->{size} == $s{size} && (
        $info->{cid} ne '' && $s{cid} ne '' && $info->{c} == $s{c}
        ? $info->{cid} eq $s{cid} : $info->{version} eq $s{version});
    if ($known && !$s{stale} && !$same) {
        failed('changed: not the pinned content') if $pin && $s{c} == $pin_c;
        $s{stale} = 1;
        lost('the server did not compare', $STALE);
    }
    my $proved = $same && ($info->{cid} ne '' && $info->{cid} eq $s{cid} ||
                           $info->{strong} && $s{strong} &&
                           $info->{version} eq $s{version});
    if ($known && $info->{c} != $s{c}) {
        $s{size} = $info->{size} if !%{$s{have}};
        regrid($info->{c});
    }
    my $cid = $info->{cid} ne '' ? $info->{cid} : $same ? $s{cid} : '';
    # R4f: where the file is another one, what is known changes when the list
    # is here, not before.
    my @list = $s{stale} && %{$s{have}} && !$proved
        ? patiently(sub { digest_list($l, $handle, @$info{qw(size c)}, $cid) })
        : ();
    @s{qw(size c version strong cid listed)} =
        (@$info{qw(size c version)}, $info->{strong} ? 1 : 0, $cid, '');
    failed('changed: not the pinned content')
        if $pin && $s{c} == $pin_c && $info->{cid} ne '' &&
        $info->{cid} ne $pin;
    $s{weak} = !$info->{strong} || $same && $s{weak} ? 1 : 0;
    compare(@list) if @list;
    # Chunks that were asked for in the same write come first (R3).
    $s{doubt} = !@list && %{$s{have}} && !$proved;
    @s{qw(strong strong_then)} = (0, $s{strong}) if $s{doubt};
    $s{stale} = 0;
    truncate $fh, $s{size};
}

# R3: what is kept is compared with the server's list.
sub settle {
    my ($l, $handle) = @_;
    compare(patiently(sub { digest_list($l, $handle, @s{qw(size c cid)}) }))
        if $s{doubt};
    $s{strong} = $s{strong_then} if $s{doubt};
    $s{doubt} = 0;
}

# E1, class transient: the same again on this connection, after a wait.
sub patiently {
    my ($try) = @_;
    while (1) {
        my @result = eval { $try->() };
        return @result if !$@;
        die $@ if $@->{what} ne 'refused' || $@->{code} >> 8 != $TRANSIENT;
        sleep $@->{wait};
    }
}

sub attempt {
    my ($host, $port, $path) = @_;
    my $l = dial($host, $port);
    my ($handle, $id, $ranges) = patiently(sub { open_file($l, $path) });
    while (1) {
        fetch($l, $id, $handle, $ranges) if $id;
        settle($l, $handle);
        $ranges = missing_ranges();
        last if !@$ranges && complete($l, $handle);
        $ranges = missing_ranges();
        $id = @$ranges && ask($l, 'GET', get_payload($handle, $ranges));
    }
}

# Step 5, and R5d: what differs from the list becomes missing.
sub complete {
    my ($l, $handle) = @_;
    my $own = own_cid($s{c});
    return 1 if $s{cid} eq $own || $s{listed} eq $own ||
        $s{cid} eq '' && !$s{weak};
    compare(patiently(sub { digest_list($l, $handle, @s{qw(size c cid)}) }));
    return !missing();
}

sub own_cid {
    my ($c) = @_;
    my @digests = map { $c == $s{c} ? $s{have}{$_} : sha256(local_bytes(
        $_ << $c, chunk_len($s{size}, $c, $_))) } 0 .. chunks($s{size}, $c) - 1;
    return cid_of($s{size}, $c, @digests);
}

sub finish {
    my ($name) = @_;
    failed('the content is not the pinned one')
        if $pin && own_cid($pin_c) ne $pin;
    $fh->flush;
    $fh->sync;
    rename $part, $name or failed("$name: $!");
    unlink $state;
    printf "bl1-%02d-%s\n", $s{c}, unpack 'H*', own_cid($s{c});
}

# 15.1 and 15.3: what a thrown problem means for the next connection.
sub after {
    my ($error) = @_;
    die $error if !ref $error;
    failed($error->{why}) if $error->{what} eq 'failed';
    my $class = $error->{what} eq 'lost' ? $error->{class}
                                         : $error->{code} >> 8;
    # BAD_HANDLE behind CHANGED_DURING; the next OPEN tells why.
    $class = $SERVER if $error->{what} eq 'refused' &&
        $error->{code} == $BAD_HANDLE;
    failed($error->{why}) if !class_known($class) || $class == $PERMANENT ||
        $class == $ACCESS;
    failed($error->{why}) if $class == $PROTOCOL && ++$s{faults} > 1;
    $s{stale} = 1 if $class == $STALE && defined $s{size};
    print STDERR "lost: $error->{why}\n";
    sleep $error->{wait} if $class == $TRANSIENT && $error->{wait};
}

sub run {
    my ($host, $port, $path, $name, $give_up) = @_;
    my ($start, $fruitless) = (time, 0);
    while (1) {
        my ($grid, %before) = ($s{c}, %{$s{have}});
        if (eval { attempt($host, $port, $path); 1 }) {
            finish($name);
            return;
        }
        my $error = $@;
        save_state();
        after($error);
        my $new = grep { !defined $before{$_} || $before{$_} ne $s{have}{$_} }
            keys %{$s{have}};
        $fruitless = $new && $grid == $s{c} ? 0 : $fruitless + 1;
        failed('gave up') if time - $start > $give_up;
        if ($fruitless) {                       # T12
            my $most = 0.5 * 2 ** ($fruitless - 1);
            sleep rand($most < 30 ? $most : 30);
        }
        regrid($s{c} - 2 > $C_MIN ? $s{c} - 2 : $C_MIN)     # R6a
            if $fruitless && $fruitless % 3 == 0 && defined $s{size} &&
            $s{c} > $C_MIN;
    }
}

# U1-4, N1a
sub parse_url {
    my ($url) = @_;
    $url =~ m{^belay\+tcp://(\[[0-9a-fA-F:.]+\]|[\w.-]+)(?::(\d+))?
              /([^?\#]+)(?:\#bl1-(1[2-9]|2[0-2])-([0-9a-f]{64}))?$}ix
        or failed("not a belay+tcp URL of a file: $url");
    my ($host, $port, $path) = ($1, $2 || 7245, $3);
    ($pin_c, $pin) = ($4, pack 'H*', $5) if defined $4;
    failed("no such path: $path") if $path =~ /%(?![0-9a-fA-F]{2})|%00|%2f/i;
    $path =~ s/%(..)/chr hex $1/ge;
    failed("no server takes this path: $path")
        if grep { $_ eq '' || $_ eq '.' || $_ eq '..' || length > 255 }
            split m{/}, $path, -1;
    $host =~ tr/[]//d;
    return ($host, $port, $path);
}

my $give_up = 9e99;
(undef, $give_up) = splice @ARGV, 0, 2 if @ARGV && $ARGV[0] eq '--give-up';
if (@ARGV != 2) {
    print STDERR "usage: mini.pl [--give-up SECONDS] URL FILE\n";
    exit 2;
}
my ($url, $name) = @ARGV;
($part, $state) = ("$name.part", "$name.state");
eval {
    my @where = parse_url($url);
    open $fh, -e $part ? '+<' : '+>', $part or failed("$part: $!");
    binmode $fh;
    load_state(unpack('H*', $where[2]) . '#' . unpack('H*', $pin // ''));
    run(@where, $name, $give_up);
    1;
} or do {
    print STDERR 'failed: ', ref $@ ? $@->{why} : $@, "\n";
    exit 1;
};
