#!/usr/bin/env escript
%%! -noinput
%% py's rows, or ErlPort's, as bench/peers/peer.py has those of Python's own.
%%
%% usage: ours.escript py EBIN PYTHON MILLISECONDS | ours.escript erlport EBIN PYTHON MILLISECONDS
-mode(compile).

-define(OPEN, 100).
-define(BYTES, 1_000_000).

main([Peer, Ebin, Python, Text]) ->
    Ms = list_to_integer(Text),
    true = code:add_pathz(Ebin),
    logger:set_primary_config(level, error),
    Call = start(Peer, Python),
    [3 = Call(add, [1, 2]) || _ <- lists:seq(1, 20)],
    Payload = binary:copy(<<0>>, ?BYTES),
    tell(Peer, one, 1.0e3 * Ms / loop(fun() -> Call(add, [1, 2]) end, until(Ms), 0)),
    tell(Peer, hundred, many(Call, Ms) / (Ms / 1.0e3)),
    tell(Peer, megabyte, 1.0 * Ms / loop(fun() -> ?BYTES = byte_size(Call(echo, [Payload])) end, until(Ms), 0)),
    halt(0).

start("py", Python) ->
    ok = application:load(py),
    ok = application:set_env(py, pools, [{default, #{python => Python, size => 2}}]),
    {ok, started} = py:start(),
    fun
        (add, Args) -> py:func(operator, add, Args);
        (echo, [Payload]) -> py:func(operator, add, [{bytes, Payload}, {bytes, <<>>}])
    end;
start("erlport", Python) ->
    %% It has no pool: each caller keeps to one of two interpreters.
    Workers = list_to_tuple([element(2, {ok, _} = python:start([{python, Python}])) || _ <- [1, 2]]),
    fun
        (add, Args) -> python:call(worker(Workers), operator, add, Args);
        (echo, [Payload]) -> python:call(worker(Workers), operator, concat, [Payload, <<>>])
    end.

worker(Workers) -> element(1 + erlang:phash2(self(), 2), Workers).

until(Ms) -> erlang:monotonic_time(millisecond) + Ms.

loop(Work, Until, Done) ->
    _ = Work(),
    case erlang:monotonic_time(millisecond) < Until of
        true -> loop(Work, Until, Done + 1);
        false -> Done + 1
    end.

many(Call, Ms) ->
    Self = self(),
    Until = until(Ms),
    Pids = [spawn_link(fun() -> Self ! {self(), loop(fun() -> Call(add, [1, 2]) end, Until, 0)} end) || _ <- lists:seq(1, ?OPEN)],
    lists:sum([receive {Pid, Done} -> Done end || Pid <- Pids]).

tell(Peer, Work, Value) -> io:format("{\"peer\": \"~ts\", \"work\": \"~ts\", \"value\": ~f}~n", [Peer, Work, Value]).
