%%% The load of a soak run: callers that call, check what they are answered, and write it into the books.
%%%
%%% A caller lives for some hundred calls; another takes its place, also when it was killed. What it does follows from the
%%% seed, its number and its generation.
-module(py_soak_load).

-export([start/3, stop/1, callers/1, pools/2, sink/0, is_known/2]).
%% For the other kinds of work.
-export([expect/4, expect/5]).
%% Called from Python.
-export([twice/1, nested/1]).

-define(MOST_CALLS, 300).
-define(TIMEOUT_MS, 5_000).
%% Above what goes by value.
-define(SHARED_BYTES, 70_000).

%% `calm' is spared by the chaos: what happens to the others must not be felt there. Its calls get the time to end that they may
%% need on a machine that others use.
pools(Python, Directory) ->
    Pool = #{python => Python, python_path => [Directory], log_level => warning},
    Restart = #{max => 1_000_000, within => 1_000, delay => 20, max_delay => 1_000},
    [
        {default, Pool#{size => 3, restart => Restart}},
        {small, Pool#{
            size => 2, max_calls => 200, max_queue => 12, kill_after => 100, drain_timeout => 500,
            scheduler => round_robin, restart => #{max => 3, within => 1_000, delay => 20, max_delay => 500}
        }},
        {calm, Pool#{size => 1, kill_after => 10_000}}
        | py_soak_strain:pools(Python, Directory)
    ].

%%% The callers

start(Count, Seed, Sink) -> spawn_link(fun() -> keep(Count, Seed, Sink) end).

keep(Count, Seed, Sink) ->
    process_flag(trap_exit, true),
    group_leader(Sink, self()),
    Callers = maps:from_list([{spawn_caller(Nth, 1, Seed), {Nth, 1}} || Nth <- lists:seq(1, Count)]),
    kept(Callers, Seed).

kept(Callers, Seed) ->
    receive
        {'EXIT', Pid, Reason} when is_map_key(Pid, Callers) ->
            lists:member(Reason, [normal, killed]) orelse py_soak_book:violation({caller_failed, Reason}),
            #{Pid := {Nth, Generation}} = Callers,
            Next = spawn_caller(Nth, Generation + 1, Seed),
            kept((maps:remove(Pid, Callers))#{Next => {Nth, Generation + 1}}, Seed);
        {callers, From} ->
            From ! {self(), maps:keys(Callers)},
            kept(Callers, Seed);
        {stop, From} ->
            [Pid ! stop || Pid <- maps:keys(Callers)],
            [receive {'EXIT', Pid, _} -> ok end || Pid <- maps:keys(Callers)],
            From ! {self(), stopped}
    end.

callers(Keeper) ->
    Keeper ! {callers, self()},
    receive {Keeper, Callers} -> Callers end.

%% Returns when each caller has ended its last call.
stop(Keeper) ->
    Keeper ! {stop, self()},
    receive {Keeper, stopped} -> ok end.

spawn_caller(Nth, Generation, Seed) ->
    spawn_link(fun() ->
        rand:seed(exsss, {Seed, Nth, Generation}),
        calls(rand:uniform(?MOST_CALLS))
    end).

calls(0) ->
    ok;
calls(Left) ->
    %% The pause between two calls, which keeps the machine from being nothing but busy; and the last word of the keeper.
    receive
        stop -> ok
    after rand:uniform(80) ->
        work(chosen(kinds())),
        case process_info(self(), messages) of
            {messages, Messages} when Messages =:= []; Messages =:= [stop] -> ok;
            {messages, Stray} -> py_soak_book:violation({stray_messages, Stray})
        end,
        calls(Left - 1)
    end.

kinds() ->
    [
        {tiny, 30}, {once, 12}, {medium, 10}, {large, 3}, {sleep, 8}, {hopeless, 2}, {exception, 8}, {callback, 8},
        {nested, 3}, {reference, 8}, {print, 6}, {log, 4}, {named, 5}, {pinned, 3}, {abandoned, 3},
        {share, 6}, {shared, 6}, {parts, 3}, {unread, 3}, {dropped, 3}, {abandoned_share, 3}, {session, 1}, {abandoned_session, 1}
        | py_soak_strain:kinds()
    ].

chosen(Weighted) -> chosen(rand:uniform(lists:sum([Weight || {_, Weight} <- Weighted])), Weighted).

chosen(Roll, [{Kind, Weight} | _]) when Roll =< Weight -> Kind;
chosen(Roll, [{_, Weight} | Rest]) -> chosen(Roll - Weight, Rest).

pool() -> chosen([{default, 6}, {small, 3}, {calm, 2}]).

%%% Kinds of work

work(tiny) ->
    X = rand:uniform(1 bsl 40),
    Y = rand:uniform(1 bsl 40),
    expect(tiny, X + Y, options(), fun(Options) -> py:func(operator, add, [X, Y], Options) end);
work(once) ->
    Token = py_soak_book:token(),
    Answer = expect(once, Token, options(), fun(Options) ->
        py:func(soak_work, note, [py_soak_book:begun_path(), Token], Options)
    end),
    py_soak_book:ran(Token, case Answer of {ok, Token} -> ok; _ -> failed end);
work(medium) ->
    Numbers = [rand:uniform(1_000_000) || _ <- lists:seq(1, 100 + rand:uniform(2_000))],
    expect(medium, lists:sort(Numbers), options(), fun(Options) -> py:func(builtins, sorted, [Numbers], Options) end);
work(large) ->
    Bytes = binary:copy(rand:bytes(1_000), 1_000),
    expect(large, erlang:crc32(Bytes), options(), fun(Options) ->
        Echo = py:func(operator, add, [{bytes, Bytes}, {bytes, <<>>}], Options),
        erlang:crc32(Echo)
    end);
work(sleep) ->
    expect(sleep, undefined, options(), fun(Options) -> py:func(time, sleep, [rand:uniform() / 10], Options) end);
work(hopeless) ->
    %% Sometimes met, mostly not; in C code that heeds a signal.
    Options = (options())#{timeout => 20 + rand:uniform(100)},
    expect(hopeless, undefined, Options, fun(O) -> py:func(time, sleep, [0.1 + rand:uniform() / 5], O) end);
work(exception) ->
    Number = rand:uniform(1_000_000),
    Text = "soak " ++ integer_to_list(Number),
    expect(exception, {raised, 'builtins.ValueError', Text}, options(), fun(Options) ->
        try
            py:func(soak_work, fail, [Number], Options)
        catch
            error:{python, Class, Said, Trace} when is_list(Trace) -> {raised, Class, Said}
        end
    end);
work(callback) ->
    Number = rand:uniform(1_000_000),
    expect(callback, 2 * Number, options(), fun(Options) -> py:func(soak_work, twice, [Number], Options) end);
work(nested) ->
    Depth = rand:uniform(3),
    Whole = Depth * (Depth + 1) div 2,
    expect(nested, Whole, (options())#{timeout => 2 * ?TIMEOUT_MS}, fun(Options) ->
        case py:func(soak_work, nest, [Depth], Options) of
            %% An inner call failed, and has been entered as what it was.
            undefined -> Whole;
            Sum -> Sum
        end
    end);
work(reference) ->
    Number = rand:uniform(1_000_000),
    Options = options(),
    expect(reference, Number, Options, fun(O) ->
        Box = py:func(soak_work, 'Box', [Number], O),
        Value = py:method(Box, value, maps:remove(pool, O)),
        rand:uniform(2) =:= 1 andalso py:release(Box),
        Value
    end);
work(print) ->
    Token = py_soak_book:token(),
    case expect(print, Token, options(), fun(Options) -> py:func(soak_work, say, [Token], Options) end) of
        {ok, Token} -> py_soak_book:print_answered(Token);
        _ -> ok
    end;
work(log) ->
    Token = py_soak_book:token(),
    expect(log, Token, options(), fun(Options) -> py:func(soak_work, log, [Token], Options) end);
work(named) ->
    Pool = pool(),
    case py_registry:workers(Pool) of
        [] ->
            ok;
        Workers ->
            {_, Worker} = lists:nth(rand:uniform(length(Workers)), Workers),
            X = rand:uniform(1_000),
            Options = #{worker => Worker, timeout => ?TIMEOUT_MS},
            expect(named, X * X, Pool, Options, fun(O) -> py:func(operator, mul, [X, X], O) end)
    end;
work(pinned) ->
    #{pool := Pool} = Options = options(),
    expect(pinned, true, Options, fun(O) ->
        py:with_worker(Pool, fun() -> py:func(os, getpid, O) > 0 end)
    end);
work(abandoned) ->
    %% Its caller dies while it runs.
    Options = options(),
    died(abandoned, rand:uniform(100), fun() -> py:func(time, sleep, [2], Options) end);

%% Shared here, mapped there, and released or left to the end of the caller.
work(share) ->
    Bytes = large(),
    expect(share, erlang:crc32(Bytes), options(), fun(Options) ->
        Shm = py:share(Bytes),
        Sum = py:func(zlib, crc32, [Shm], Options),
        maybe_released(Shm),
        Sum
    end);
work(shared) ->
    Number = rand:uniform(255),
    expect(shared, binary:copy(<<Number>>, ?SHARED_BYTES), options(), fun(Options) ->
        Shm = py:func(soak_work, shared, [Number, ?SHARED_BYTES], Options#{arrays => shared}),
        Bytes = py:value(Shm),
        maybe_released(Shm),
        Bytes
    end);
work(parts) ->
    Bytes = large(),
    expect(parts, Bytes, options(), fun(Options) ->
        Shm = py:share(Bytes),
        Parts = py:pmap(builtins, bytes, py:split(Shm, 4), Options#{chunk => 1}),
        ok = py:release(Shm),
        iolist_to_binary(Parts)
    end);
work(unread) ->
    %% A stream that is closed before its end.
    Number = rand:uniform(255),
    expect(unread, {ok, binary:copy(<<Number>>, ?SHARED_BYTES)}, options(), fun(Options) ->
        Stream = py:stream(soak_work, several, [Number, ?SHARED_BYTES], Options#{arrays => shared}),
        First =
            case py:stream_next(Stream) of
                {ok, Shm} -> {ok, py:value(Shm)};
                done -> done
            end,
        py:stream_close(Stream),
        First
    end);
work(dropped) ->
    %% Results that nobody takes.
    Handles = py:scatter(soak_work, shared, [[7, ?SHARED_BYTES] || _ <- [1, 2, 3]], (options())#{arrays => shared}),
    receive after rand:uniform(50) -> ok end,
    lists:foreach(fun py:cancel/1, Handles),
    py_soak_book:count(dropped, done);
work(abandoned_share) ->
    %% Its caller dies while it shares, in Erlang or in Python.
    Options = (options())#{arrays => shared},
    Bytes = large(),
    died(abandoned_share, rand:uniform(30), fun() ->
        _ = catch py:func(soak_work, shared, [7, ?SHARED_BYTES], Options),
        [py:share(Bytes) || _ <- lists:seq(1, 20)]
    end);
work(session) ->
    Number = rand:uniform(1_000_000),
    expect(session, Number + 1, calm, #{timeout => 4 * ?TIMEOUT_MS}, fun(_) ->
        Session = py_session:timeout(py_session:open(), 4 * ?TIMEOUT_MS),
        try
            py_session:eval(py_session:define(Session, x, Number), <<"x + 1">>)
        after
            py_session:close(Session)
        end
    end);
work(abandoned_session) ->
    %% Its owner dies, whatever it is doing then.
    died(abandoned_session, rand:uniform(300), fun() ->
        Session = py_session:open(#{persistent => true}),
        _ = catch py_session:eval(Session, <<"import time\nx = 1\ntime.sleep(0.1)">>),
        _ = catch py_session:eval(py_session:fork(Session), <<"x">>)
    end);
work(Kind) ->
    py_soak_strain:work(Kind, options()).

died(Work, Ms, Fun) ->
    {Pid, Monitor} = spawn_monitor(fun() -> _ = catch Fun() end),
    receive
        {'DOWN', Monitor, process, Pid, _} -> ok
    after Ms ->
        exit(Pid, kill),
        receive {'DOWN', Monitor, process, Pid, _} -> ok end
    end,
    py_soak_book:count(Work, died).

large() -> binary:copy(rand:bytes(1_000), ?SHARED_BYTES div 1_000).

%% What is not released goes with its caller.
maybe_released(Shm) -> rand:uniform(10) > 1 andalso py:release(Shm).

options() -> #{pool => pool(), timeout => ?TIMEOUT_MS}.

%%% From Python

twice(Number) -> 2 * Number.

nested(Depth) ->
    rand:seed(exsss),
    Whole = Depth * (Depth + 1) div 2,
    Options = (options())#{timeout => ?TIMEOUT_MS},
    case expect(nested_in, Whole, Options, fun(O) ->
        case py:func(soak_work, nest, [Depth], O) of
            undefined -> Whole;
            Sum -> Sum
        end
    end) of
        {ok, Whole} -> Whole;
        _ -> undefined
    end.

%%% Answers

expect(Work, Right, #{pool := Pool} = Options, Call) -> expect(Work, Right, Pool, Options, Call).

expect(Work, Right, Pool, #{timeout := Timeout} = Options, Call) ->
    %% Some kinds of work are several calls.
    py_soak_book:opened(Work, 4 * Timeout),
    Start = erlang:monotonic_time(millisecond),
    Answer =
        try
            {ok, Call(Options)}
        catch
            Class:Reason -> {Class, Reason}
        end,
    Elapsed = erlang:monotonic_time(millisecond) - Start,
    py_soak_book:closed(),
    enter(Work, Right, Pool, Timeout, Elapsed, Answer),
    Answer.

enter(Work, Right, _, _, _, {ok, Right}) ->
    py_soak_book:count(Work, ok);
enter(Work, Right, _, _, _, {ok, Wrong}) ->
    py_soak_book:count(Work, wrong),
    py_soak_book:violation({wrong_value, Work, Wrong, expected, Right});
%% The call that it is made for has passed its own deadline.
enter(nested_in, _, _, _, _, {error, {py, cancelled}}) ->
    py_soak_book:count(nested_in, cancelled);
enter(Work, _, Pool, Timeout, Elapsed, {error, {py, Reason}}) ->
    py_soak_book:count(Work, kind(Reason)),
    case is_known(Pool, Reason) andalso (Reason =/= timeout orelse Elapsed >= Timeout) of
        true -> ok;
        false -> py_soak_book:violation({unfit_error, Work, Pool, Reason, {after_ms, Elapsed}})
    end;
enter(Work, _, Pool, _, _, Other) ->
    py_soak_book:count(Work, other),
    py_soak_book:violation({unknown_error, Work, Pool, Other}).

kind({worker_down, {Kind, _}}) when is_atom(Kind) -> {worker_down, Kind};
kind({worker_down, {signal, Number, _}}) -> {worker_down, {signal, Number}};
kind({worker_down, {exit_status, Number, _}}) -> {worker_down, {exit_status, Number}};
kind({worker_down, Why}) -> {worker_down, Why};
kind({Kind, _}) -> Kind;
kind(Kind) -> Kind.

%% The errors that fit what is done to a pool.
is_known(_, timeout) -> true;
is_known(calm, _) -> false;
is_known(Pool, Reason) when Pool =:= bounded; Pool =:= boxed -> py_soak_strain:is_known(Pool, Reason);
is_known(Pool, overload) -> Pool =:= small;
is_known(_, {stale_reference, _}) -> true;
is_known(_, {nested, _}) -> true;
is_known(_, {unknown_worker, _}) -> true;
is_known(_, {protocol, _}) -> true;
is_known(_, {worker_down, {signal, 9, _}}) -> true;
is_known(_, {worker_down, {deadline, killed}}) -> true;
is_known(_, {worker_down, {protocol, _}}) -> true;
is_known(_, {worker_down, {start, _}}) -> true;
is_known(_, {worker_down, Why}) -> lists:member(Why, [closed, recycled, stopped, restarting, replaced, killed]);
is_known(_, _) -> false.

%%% Where the callers print

sink() -> spawn_link(fun sunk/0).

sunk() ->
    receive
        {io_request, From, ReplyAs, Request} ->
            case Request of
                {put_chars, _, Text} -> said(Text);
                _ -> ok
            end,
            From ! {io_reply, ReplyAs, ok},
            sunk()
    end.

%% Junk may be taken for a text.
said(Text) ->
    try unicode:characters_to_list(Text) of
        Lines when is_list(Lines) -> lists:foreach(fun said_line/1, string:split(Lines, "\n", all));
        _ -> ok
    catch
        error:_ -> ok
    end.

%% What a handler was about to print when its call was interrupted may stand before it.
said_line(Line) ->
    case string:split(Line, "soak ") of
        [_, Digits] -> py_soak_book:printed(list_to_integer(Digits));
        [_] -> ok
    end.
