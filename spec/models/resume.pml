/*
 * Resume: does a client ever report success for bytes that were never one
 * version of the file? (belay-1 sections 9.6, 10.1, 10.3 and 13.)
 *
 * The world: one file of two chunks on one server, changed in place at any
 * moment; a version token that is the time of the last change, so that two
 * changes within one tick of the clock share a token; connections that break
 * after any chunk; a client that crashes between connections. Digests and
 * CIDs are ideal: they are the contents.
 *
 * A variant switches one rule off by -DNAME. expected.tsv says which variants
 * still hold. Run them with run.py.
 *
 * client                            rule that is off
 *   EXPECT_DROPPED                  R1: OPEN without expectations
 *   NO_N2                           N2b: INFO is not compared
 *   MIX_VERSIONS                    R4: after CHANGED kept chunks just stay
 *   ADOPT_FIRST                     R4f: the new INFO replaces the old one
 *                                   before the digests are there
 *   SKIP_COMPARE                    R3: a weak token proves kept chunks
 *   STRONG_ONCE                     R2: only the new INFO has to be strong
 *   FORGET_WEAK                     R5c: only the last INFO has to be strong
 *   NO_FINAL_CID                    R5c: weak versions need no CID
 *   NO_LAST_DONE                    R5e: success without DONE or INFO after
 *                                   the last chunk
 *   JOURNAL_FIRST                   a chunk is recorded before it is stored
 *   NO_REHASH                       R4d: the record is trusted after a crash
 * server
 *   TWO_STATS                       I2: one stat is judged, another bound
 *   CID_FROM_WEAK                   I11: digests of a weak version make a CID
 *   LIST_REMEMBERED                 I11: DIGEST is answered from them
 *   NO_PATIENCE                     D12: DIGEST does not wait for a quiet file
 *   NO_CHECK                        G5a: no fstat between OPEN and DONE
 *   NO_LAST_CHECK                   G5a: no fstat before DONE
 * world
 *   FLIP_FLOP                       contents that go back and forth
 */

#ifndef CONNS
#define CONNS 3
#endif

/* The rules that are conditions. */
#ifdef CID_FROM_WEAK
#define MAY_NAME_CID true
#else
#define MAY_NAME_CID strong
#endif

#ifdef LIST_REMEMBERED
#define READ_AGAIN(i) (read_value[i] == 0)
#else
#define READ_AGAIN(i) true
#endif

#ifdef NO_PATIENCE
#define QUIET true
#else
#define QUIET (tick > bound)
#endif

#ifdef NO_N2
#define COMPARE_INFO false
#else
#define COMPARE_INFO true
#endif

#ifdef SKIP_COMPARE
#define STRONG_ENOUGH true
#else
#ifdef STRONG_ONCE
#define STRONG_ENOUGH strong
#else
#define STRONG_ENOUGH (strong && kept_strong)
#endif
#endif

#define TICKS 2

/* Contents of the chunks in version v; 0 is a hole. Version 0 and 1 share no
 * chunk, version 2 shares one with each. */
#ifdef FLIP_FLOP
#define LAST_VERSION 3
#define C0(v) ((v) % 2 == 0 -> 1 : 2)
#define C1(v) C0(v)
#else
#define LAST_VERSION 2
#define C0(v) ((v) == 0 -> 1 : 2)
#define C1(v) ((v) == 1 -> 2 : 1)
#endif
#define CONTENT(i) ((i) == 0 -> C0(version) : C1(version))
#define WHOLE(a, b) ((a) * 3 + (b))

/* The file. */
byte version = 0;
byte tick = 0;
byte token = 0;                 /* tick of the last change */
bool existed[9];                /* which whole contents there were */

/* What the server knows about the handle of the one connection. */
byte bound;                     /* token of the handle */
bool strong;                    /* INFO_VERSION_STRONG */
bool named;                     /* INFO or DONE has a CID ... */
byte named_cid;
byte read_value[2];             /* what this handle has read, 0: nothing */

/* What the client keeps. */
byte data[2];                   /* bytes in the partial file */
byte record[2];                 /* D_i in the journal, 0: not recorded */
bool have[2];                   /* chunk counts as verified */
bool known;                     /* there is an identity to expect */
byte kept_token;
bool kept_strong;
bool weak_used;                 /* some INFO was not strong */
bool cid_known;
byte cid;

bool accepted;                  /* OPEN: INFO came, not CHANGED */
bool during;                    /* CHANGED_DURING */

active proctype writer()
{
    do
    :: atomic { version < LAST_VERSION ->
           version++;
           token = tick;
           existed[WHOLE(C0(version), C1(version))] = true }
    :: atomic { tick < TICKS -> tick++ }
    :: break
    od
}

/* One fstat; it also tells whether any later change will show. A server that
 * sees a quiet file may have hashed it before. */
inline server_stat()
{
    bound = token;
    strong = (tick > token);
    named = false;
    if
    :: strong -> named = true; named_cid = WHOLE(C0(version), C1(version))
    :: skip
    fi
}

inline server_judge()
{
    if
    :: named && cid_known -> accepted = (named_cid == cid)
    :: else -> accepted = (bound == kept_token)
    fi
}

inline server_open(expect)
{
    atomic {
        server_stat();
        accepted = true;
        if
        :: expect -> server_judge()
        :: else
        fi
    }
#ifdef TWO_STATS
    atomic { server_stat() }
#endif
    atomic { read_value[0] = 0; read_value[1] = 0; during = false }
}

inline server_check()
{
#ifndef NO_CHECK
    during = during || (token != bound)
#else
    skip
#endif
}

/* The check comes first, then the read: a change fits in between. */
inline server_read(i)
{
    server_check();
    if
    :: !during -> read_value[i] = CONTENT(i)
    :: else
    fi
}

/* Before the last frame of an answer; then the server may name a CID. */
inline server_end()
{
    atomic {
#ifndef NO_LAST_CHECK
        server_check();
#endif
        if
        :: !during && !named && read_value[0] && read_value[1] &&
           MAY_NAME_CID ->
               named = true; named_cid = WHOLE(read_value[0], read_value[1])
        :: else
        fi
    }
}

/* A digest for DIGEST. A file that changed just now has to rest first; here
 * the request then fails and the client comes again. */
inline server_digest(i)
{
    during = during || !QUIET;
    if
    :: !during && READ_AGAIN(i) -> server_read(i)
    :: else
    fi
}

/* Complete digest list: keep what agrees, whoever sent it. */
inline compare_all()
{
    server_digest(0);
    server_digest(1);
    server_end();
    atomic {
        if
        :: !during ->
               have[0] = have[0] && (record[0] == read_value[0]);
               have[1] = have[1] && (record[1] == read_value[1])
        :: else
        fi
    }
}

/* DIGEST over the kept chunks only, step 3. */
inline compare_kept()
{
    if
    :: have[0] -> server_digest(0)
    :: else
    fi;
    if
    :: have[1] -> server_digest(1)
    :: else
    fi;
    server_end();
    atomic {
        if
        :: !during ->
               have[0] = have[0] && (record[0] == read_value[0]);
               have[1] = have[1] && (record[1] == read_value[1])
        :: else
        fi
    }
}

/* INFO becomes the reference. */
inline adopt()
{
    atomic {
        known = true;
        kept_token = bound;
        kept_strong = strong;
#ifdef FORGET_WEAK
        weak_used = !strong;
#else
        weak_used = weak_used || !strong;
#endif
        if
        :: named -> cid_known = true; cid = named_cid
        :: else
        fi
    }
}

/* Rules N2b and R2. */
inline judge_info()
{
    atomic {
        same_cid = named && cid_known && (named_cid == cid);
        changed = COMPARE_INFO && ((named && cid_known && named_cid != cid) ||
                                   (bound != kept_token && !same_cid));
        proved = !COMPARE_INFO || same_cid ||
                 (bound == kept_token && STRONG_ENOUGH)
    }
}

/* Store what arrived. A crash may come between bytes and record. */
inline store(i)
{
#ifdef JOURNAL_FIRST
    atomic { record[i] = read_value[i]; data[i] = 0 }
    if
    :: crashed = true
    :: data[i] = read_value[i]
    fi;
#else
    data[i] = read_value[i];
    if
    :: crashed = true
    :: record[i] = read_value[i]
    fi;
#endif
    if
    :: !crashed -> have[i] = true
    :: else
    fi
}

/* A new process finds the partial file and the journal. */
inline restart()
{
    atomic {
#ifdef NO_REHASH
        have[0] = (record[0] != 0);
        have[1] = (record[1] != 0);
#else
        have[0] = (record[0] != 0 && record[0] == data[0]);
        have[1] = (record[1] != 0 && record[1] == data[1]);
#endif
        crashed = false
    }
}

inline fetch(i)
{
    if
    :: !have[i] && !during && !crashed ->
           server_read(i);
           if
           :: !during -> store(i)
           :: else
           fi
    :: else
    fi
}

inline success()
{
    assert(existed[WHOLE(data[0], data[1])]);
    goto finished
}

active proctype client()
{
    byte conns = 0;
    bool same_cid, changed, proved;
    bool crashed = false;

    existed[WHOLE(C0(0), C1(0))] = true;

dial:
    if
    :: conns == CONNS -> goto finished
    :: else -> conns++
    fi;
    restart();

#ifdef EXPECT_DROPPED
    server_open(false);
#else
    server_open(known);
#endif
    if
    :: !accepted -> goto reopen
    :: accepted && !known -> adopt()
    :: else ->
           judge_info();
           if
           :: changed -> goto reopen
           :: !changed && proved -> adopt()
           :: else ->
                  if
                  :: goto dial          /* the digests do not arrive */
                  :: skip
                  fi;
                  compare_kept();
                  if
                  :: during -> goto dial
                  :: else -> adopt()
                  fi
           fi
    fi;
    goto get;

reopen:                         /* step 4 */
    server_open(false);
#ifdef ADOPT_FIRST
    cid_known = false;
    adopt();
#endif
#ifndef MIX_VERSIONS
    if
    :: goto dial                /* the list does not arrive */
    :: skip
    fi;
    compare_all();
    if
    :: during -> goto dial
    :: else
    fi;
#endif
    atomic { cid_known = false; adopt() }

get:
    if
    :: during -> goto dial
    :: else
    fi;
    fetch(0);
    if
    :: goto dial                /* the connection breaks */
    :: skip
    fi;
    fetch(1);
    if
    :: during || crashed -> goto dial
    :: else
    fi;
#ifndef NO_LAST_DONE
    if
    :: goto dial                /* DONE is lost */
    :: skip
    fi;
    server_end();
    if
    :: during -> goto dial
    :: else
    fi;
    if
    :: named && cid_known && cid != named_cid -> goto dial      /* G10 */
    :: named && !cid_known -> cid_known = true; cid = named_cid
    :: else
    fi;
#endif
    if
    :: !have[0] || !have[1] -> goto dial
    :: else
    fi;

    /* Step 5. */
    if
    :: cid_known && cid == WHOLE(record[0], record[1]) -> success()
    :: cid_known && cid != WHOLE(record[0], record[1]) ->
           compare_all();
           goto dial
    :: !cid_known && weak_used ->
#ifdef NO_FINAL_CID
           success()
#else
           compare_all();
           if
           :: !during && have[0] && have[1] -> success()
           :: else -> goto dial
           fi
#endif
    :: !cid_known && !weak_used -> success()
    fi;

finished:
    skip
}

#ifdef CAN_FINISH
/* Not a rule but a check of the model: success is reachable, so that "holds"
 * does not mean "never finishes". This claim has to be violated. */
ltl never_succeeds { [] !(client@finished && have[0] && have[1]) }
#endif
