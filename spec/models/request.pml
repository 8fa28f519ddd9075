/*
 * Requests of one connection: END, CANCEL, GOAWAY (belay-1 sections 6, 8.4,
 * 10.6 and 11).
 *
 * A client sends up to three requests, cancels some; the server works on them
 * in any order, announces its end and leaves, or the connection is cut. What
 * has to hold: each request gets exactly one END; a request without END is one
 * that GOAWAY gave back, or was cut off; nobody waits for ever (spin reports
 * that as an invalid end state); the server never works on more than MAX
 * requests at once.
 *
 * A variant breaks one rule by -DNAME:
 *
 *   NO_END_AFTER_CANCEL   K2: a cancelled request gets no answer
 *   END_TWICE             K2: CANCEL is answered even after the END
 *   CANCEL_FREES          L7: a cancelled request stops counting at once
 *   REUSE_ID              F6: a client uses the id of a cancelled request again
 *   LAST_TOO_LOW          C7: GOAWAY names less than will be answered
 *   LAST_IGNORED          C7: the server leaves without the last answers
 *   ANNOUNCE_ONLY         C7: the server leaves after GOAWAY_ANNOUNCE
 *   NO_REQUEUE            C6: a client waits for requests above last_id
 *   EOF_IS_END            C2: end of stream ends the outstanding requests well
 *   CLIENT_GOAWAY_DROPS   C9: the server drops what runs when the client says
 *                         that no more requests follow
 *
 * CAN_FINISH checks the model itself: a run in which all requests are served
 * has to exist, so the claim that there is none has to be violated.
 */

#define REQUESTS 3
#define MAX 2
#define ANNOUNCE 255
#define GOODBYE 254             /* GOAWAY of the client */

mtype = { request, cancel, end, cancelled, goaway, stop, cut };

chan to_server = [4] of { mtype, byte };
chan to_client = [4] of { mtype, byte };

/* Requests as the server sees them; index 0 is not used. */
mtype:work = { none, queued, running, ended };
mtype:work work[REQUESTS + 1] = none;
byte working = 0;               /* queued or running */
bool served[REQUESTS + 1];      /* ended with what was asked for */

/* Requests as the client sees them. */
mtype:ask = { unsent, waiting, done, failed, again };
mtype:ask ask[REQUESTS + 1] = unsent;
byte outstanding = 0;

inline finish(id, how)
{
    work[id] = ended;
    working--;
    served[id] = (how == end);
    to_client ! how, id
}

/* Nothing up to `last` is left to answer. */
#define NONE_LEFT (work[1] != queued && work[1] != running && \
                   work[2] != queued && work[2] != running && \
                   work[3] != queued && work[3] != running)

active proctype server()
{
    byte id, highest = 0, last = ANNOUNCE;
    bool announced = false, final = false, client_left = false;

    do
    :: to_server ? request, id ->
           if
           :: final && id > last -> skip
           :: else ->
                  assert(work[id] == none);
                  work[id] = queued;
                  working++;
                  highest = id;
                  assert(working <= MAX)
           fi
    :: to_server ? cancel, id ->
           if
           :: work[id] == queued || work[id] == running ->
#ifdef NO_END_AFTER_CANCEL
                  atomic { work[id] = ended; working-- }
#else
#ifdef CANCEL_FREES
                  skip          /* forgotten; the work goes on */
#else
                  finish(id, cancelled)
#endif
#endif
           :: work[id] == ended ->
#ifdef END_TWICE
                  to_client ! cancelled, id
#else
                  skip
#endif
           :: work[id] == none -> skip
           fi
    :: to_server ? goaway, id ->
           client_left = true;
#ifdef CLIENT_GOAWAY_DROPS
           to_client ! stop, 0;
           break
#endif
    :: work[1] == queued -> work[1] = running
    :: work[2] == queued -> work[2] = running
    :: work[3] == queued -> work[3] = running
    :: work[1] == running -> finish(1, end)
    :: work[2] == running -> finish(2, end)
    :: work[3] == running -> finish(3, end)
    :: !announced && !client_left ->
           announced = true;
           to_client ! goaway, ANNOUNCE;
#ifdef ANNOUNCE_ONLY
           to_client ! stop, 0;
           break
#endif
    :: announced && !final ->
           final = true;
#ifdef LAST_TOO_LOW
           last = (highest > 0 -> highest - 1 : 0);
#else
           last = highest;
#endif
           to_client ! goaway, last;
#ifdef LAST_IGNORED
           to_client ! stop, 0;
           break
#endif
    :: final && NONE_LEFT ->
           to_client ! stop, 0;
           break
    :: client_left && NONE_LEFT ->
           to_client ! stop, 0;
           break
    :: to_client ! cut, 0 ->    /* reset by the network */
           break
    od;
    /* What still comes goes nowhere. */
end_server:
    do
    :: to_server ? _, _
    od
}

/* The first END of an outstanding request settles it; any other is a breach. */
inline settle(id, how)
{
    assert(ask[id] == waiting);
    ask[id] = how;
    outstanding--
}

inline give_back(id, state)
{
    if
    :: ask[id] == waiting -> ask[id] = state; outstanding--
    :: else
    fi
}

/* Give back what is above the boundary. */
inline give_back_above(last)
{
    if
    :: last < 1 -> give_back(1, again)
    :: else
    fi;
    if
    :: last < 2 -> give_back(2, again)
    :: else
    fi;
    if
    :: last < 3 -> give_back(3, again)
    :: else
    fi
}

inline try_cancel(n)
{
    cancel_sent[n] = true;
    to_server ! cancel, n;
#ifdef CANCEL_FREES
    outstanding--;
    ask[n] = failed
#endif
#ifdef REUSE_ID
    if
    :: next <= n + 1 -> next = n; ask[n] = unsent; outstanding--
    :: else
    fi
#endif
}

active proctype client()
{
    byte id, next = 1;
    bool told = false;          /* a GOAWAY came: no new requests */
    bool left = false;          /* we said that nothing follows */
    bool cancel_sent[REQUESTS + 1];

    do
    :: !told && !left && next <= REQUESTS && outstanding < MAX ->
           atomic {
               ask[next] = waiting;
               outstanding++;
               to_server ! request, next;
               next++
           }
    :: !left && ask[1] == waiting && !cancel_sent[1] -> try_cancel(1)
    :: !left && ask[2] == waiting && !cancel_sent[2] -> try_cancel(2)
    :: !left && next > REQUESTS -> left = true; to_server ! goaway, GOODBYE
    :: to_client ? end, id -> settle(id, done)
    :: to_client ? cancelled, id -> settle(id, failed)
    :: to_client ? goaway, id ->
           told = true;
#ifndef NO_REQUEUE
           if
           :: id != ANNOUNCE -> give_back_above(id)
           :: else
           fi
#endif
    :: to_client ? stop, id ->
           /* A kind end leaves nothing open. */
           assert(ask[1] != waiting && ask[2] != waiting &&
                  ask[3] != waiting);
           break
    :: to_client ? cut, id ->
#ifdef EOF_IS_END
           give_back(1, done);
           give_back(2, done);
           give_back(3, done);
#else
           give_back(1, again);
           give_back(2, again);
           give_back(3, again);
#endif
           break
    od;

    assert(outstanding == 0);
    assert(ask[1] != done || served[1]);
    assert(ask[2] != done || served[2]);
    assert(ask[3] != done || served[3])
}

#ifdef CAN_FINISH
ltl never_served { [] !(ask[1] == done && ask[2] == done && ask[3] == done) }
#endif
