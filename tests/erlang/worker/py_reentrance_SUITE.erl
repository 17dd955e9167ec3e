%%% Whoever enters a Python while it reads and writes, and calls that nest: nothing is cut, lost, doubled or refused.
-module(py_reentrance_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-export([suite/0, all/0, groups/0, init_per_group/2, end_per_group/2]).
-export([
    a_handler_that_prints_leaves_an_answer_whole/1,
    a_handler_that_logs_or_casts_leaves_an_answer_whole/1,
    a_handler_that_calls_leaves_an_answer_whole/1,
    a_handler_calls_while_its_call_waits/1,
    a_handler_that_raises_between_two_calls_ends_nothing/1,
    a_deadline_holds_while_handlers_call/1,
    many_calls_that_call_back_are_all_right/1,
    calls_through_the_bridge_nest_fifty_deep/1,
    who_nests_has_enough_of_the_limit_of_recursion/1,
    a_cancellation_is_for_its_call_alone/1,
    ten_megabytes_are_printed_at_once/1,
    prints_for_a_slow_reader_keep_python_small/1,
    standard_output_is_a_text_stream/1,
    records_of_a_forked_child_are_on_standard_error/1,
    the_loggers_own_records_come_whatever_is_configured/1,
    replaced_functions_of_the_library_are_not_ours/1
]).
%% Called from Python.
-export([slow/1, down/2]).
%% A handler of `logger'.
-export([log/2]).

-define(LARGE_BYTES, (64 bsl 20)).

suite() -> [{timetrap, {minutes, 5}}].

all() -> [{group, compiled}, {group, uncompiled}].

groups() ->
    Cases = [
        a_handler_that_prints_leaves_an_answer_whole,
        a_handler_that_logs_or_casts_leaves_an_answer_whole,
        a_handler_that_calls_leaves_an_answer_whole,
        a_handler_calls_while_its_call_waits,
        a_handler_that_raises_between_two_calls_ends_nothing,
        a_deadline_holds_while_handlers_call,
        many_calls_that_call_back_are_all_right,
        calls_through_the_bridge_nest_fifty_deep,
        who_nests_has_enough_of_the_limit_of_recursion,
        a_cancellation_is_for_its_call_alone,
        ten_megabytes_are_printed_at_once,
        prints_for_a_slow_reader_keep_python_small,
        standard_output_is_a_text_stream,
        records_of_a_forked_child_are_on_standard_error,
        the_loggers_own_records_come_whatever_is_configured,
        replaced_functions_of_the_library_are_not_ours
    ],
    [{compiled, [], Cases}, {uncompiled, [], Cases}].

init_per_group(Codec, Config) ->
    Path = [?config(data_dir, Config)],
    Options = #{size => 1, python_path => Path},
    ok = py_application:start([{default, with_codec(Codec, Options, Config)}]),
    [{codec, Codec} | Config].

end_per_group(_, _Config) -> py_application:stop().

with_codec(compiled, Options, _Config) ->
    Options;
with_codec(uncompiled, #{python_path := Path} = Options, Config) ->
    Directory = py_uncompiled:directory(?config(priv_dir, Config)),
    Options#{python_path => [Directory | Path]}.

call(Function, Args) -> call(Function, Args, #{}).

call(Function, Args, Options) -> py:func(py_entered, Function, Args, Options).

%% What came of a call, and what was printed.
printed(Fun) ->
    {Result, Leader} = py_output:of_call(Fun),
    Text = py_output:text(Leader),
    py_output:stop(Leader),
    {Result, Text}.

restarts() ->
    [#{restarts := Restarts}] = py:workers(default),
    Restarts.

a_handler_that_prints_leaves_an_answer_whole(_Config) ->
    [?assertEqual(?LARGE_BYTES, byte_size(call(bytes_while, [<<"print">>, ?LARGE_BYTES]))) || _ <- lists:seq(1, 3)],
    call(quiet, []),
    ?assertEqual(0, restarts()).

a_handler_that_logs_or_casts_leaves_an_answer_whole(_Config) ->
    [
        ?assertEqual(?LARGE_BYTES, byte_size(call(bytes_while, [What, ?LARGE_BYTES])))
     || What <- [<<"cast">>, <<"log">>]
    ],
    call(quiet, []),
    ?assertEqual(0, restarts()).

a_handler_that_calls_leaves_an_answer_whole(Config) ->
    ?assertEqual(?LARGE_BYTES, byte_size(call(bytes_while, [<<"call">>, ?LARGE_BYTES]))),
    are_right(call(quiet, []), Config),
    ?assertEqual(0, restarts()).

a_handler_calls_while_its_call_waits(Config) ->
    Called = call(wait_while_handlers_call, [300]),
    ?assert(length(Called) > 3),
    are_right(Called, Config).

%% With the codec in Python, who enters a write can't call.
are_right(Called, Config) ->
    Wrong = [Each || Each <- Called, Each =/= true],
    case ?config(codec, Config) of
        compiled -> ?assertEqual([], Wrong);
        uncompiled -> [?assertNotEqual(nomatch, string:find(Text, "while a message was written")) || Text <- Wrong]
    end.

a_handler_that_raises_between_two_calls_ends_nothing(_Config) ->
    [#{os_pid := OsPid}] = py:workers(default),
    lists:foreach(
        fun(Name) ->
            call(raise_later, [Name, 0.02]),
            %% The time in which it raises.
            timer:sleep(60),
            ?assertEqual(4.0, py:func(math, sqrt, [16]))
        end,
        [<<"TimeoutError">>, <<"KeyboardInterrupt">>, <<"ValueError">>, <<"BrokenPipeError">>]
    ),
    ?assertMatch([#{os_pid := OsPid, restarts := 0}], py:workers(default)).

a_deadline_holds_while_handlers_call(_Config) ->
    ?assertError({py, timeout}, call(wait_while_handlers_call, [60_000], #{timeout => 200})),
    ?assertEqual(4.0, py:func(math, sqrt, [16])).

slow(Number) ->
    %% So long that others come meanwhile.
    timer:sleep(Number rem 3),
    Number.

many_calls_that_call_back_are_all_right(Config) ->
    Count =
        case ?config(codec, Config) of
            compiled -> 10_000;
            uncompiled -> 2_000
        end,
    %% A case before may have cost one, on a busy machine: its Python had `kill_after' to obey.
    [#{os_pid := OsPid}] = py:workers(default),
    Callers = [py_caller:start(fun() -> call(ask, [N]) end) || N <- lists:seq(1, Count)],
    Results = [py_caller:result(Caller) || Caller <- Callers],
    ?assertEqual([], [Result || {N, Result} <- lists:zip(lists:seq(1, Count), Results), Result =/= {ok, N}]),
    ?assertMatch([#{os_pid := OsPid}], py:workers(default)).

down(Worker, Levels) -> py:func(py_entered, down, [Worker, Levels], #{worker => Worker}).

calls_through_the_bridge_nest_fifty_deep(_Config) ->
    [#{worker := Worker}] = py:workers(default),
    ?assertEqual(50, down(Worker, 50)).

who_nests_has_enough_of_the_limit_of_recursion(_Config) ->
    Deep = [py_caller:start(fun() -> call(recursed, [Levels, 200]) end) || Levels <- [100, 1_000, 1_500, 1_900, 4_000]],
    Neighbours = [py_caller:start(fun() -> call(needs, [900]) end) || _ <- lists:seq(1, 50)],
    ?assertEqual([{ok, 900} || _ <- Neighbours], [py_caller:result(Caller) || Caller <- Neighbours]),
    ?assertEqual([{ok, 1} || _ <- Deep], [py_caller:result(Caller) || Caller <- Deep]).

%% While the arguments of one that nests in it are read, and while its result is written.
a_cancellation_is_for_its_call_alone(Config) ->
    Asking = #{decoders => [{slow, {py_entered, read_slowly}}], encoders => [{'py_entered.Slow', {py_entered, write_slowly}}]},
    Options = Asking#{size => 1, python_path => [?config(data_dir, Config)]},
    {ok, _} = py:start_pool(asking, with_codec(?config(codec, Config), Options, Config)),
    [
        begin
            Outer = py_caller:start(fun() -> py:func(py_entered, wait, [5_000], #{pool => asking, timeout => 300}) end),
            [#{worker := Worker}] = py:workers(asking),
            py_eventually:equals(1, fun() -> [#{in_flight := Count}] = py:workers(asking), Count end),
            ?assertEqual(Right, py:func(py_entered, Function, Args, #{worker => Worker, timeout => 20_000})),
            ?assertEqual({error, {py, timeout}}, py_caller:result(Outer)),
            ?assertMatch([#{restarts := 0}], py:workers(asking))
        end
     || {Function, Args, Right} <- [{length, [{slow, 600}], 600}, {slow, [600], 600}]
    ],
    ok = py:stop_pool(asking).

ten_megabytes_are_printed_at_once(_Config) ->
    Size = 10_000_000,
    {Result, Text} = printed(fun() -> call(print_at_once, [Size]) end),
    ?assertEqual({Size, Size}, {Result, length(Text)}).

prints_for_a_slow_reader_keep_python_small(_Config) ->
    Reader = spawn_link(fun() -> read(0) end),
    Before = group_leader(),
    group_leader(Reader, self()),
    [KiB] = call(print_much, [300_000]),
    group_leader(Before, self()),
    Reader ! {said, self()},
    Bytes = receive {bytes, Read} -> Read end,
    ?assert(KiB < 10_000, KiB),
    ?assertEqual(30_000_000, Bytes).

%% A group leader that takes its time, and counts.
read(Bytes) ->
    receive
        {io_request, From, Reference, {put_chars, unicode, Text}} ->
            _ = [receive after 1 -> ok end || Bytes rem 50_000 =:= 0],
            From ! {io_reply, Reference, ok},
            read(Bytes + byte_size(unicode:characters_to_binary(Text)));
        {said, From} ->
            From ! {bytes, Bytes}
    end.

standard_output_is_a_text_stream(_Config) ->
    {Result, Text} = printed(fun() -> call(as_a_stream, []) end),
    ?assertEqual(["utf-8", "backslashreplace", "w", "<stdout>", 1, false, true], Result),
    ?assertEqual("bytes\nreconfigured\nwrapped \x{bd}\nafter\x{bd}", Text).

records_of_a_forked_child_are_on_standard_error(_Config) ->
    ?assertEqual("WARNING:entered:from a child\n", call(what_a_child_logs, [<<"from a child">>])).

the_loggers_own_records_come_whatever_is_configured(_Config) ->
    ok = logger:add_handler(?MODULE, ?MODULE, #{config => self()}),
    try
        call(configure_logging, [<<"here it is">>]),
        ?assertEqual(["before", "here it is"], [receive {logged, Text} -> Text after 10_000 -> none end || _ <- [1, 2]])
    after
        logger:remove_handler(?MODULE)
    end.

log(#{msg := {"~ts", [Text]}, meta := #{py_logger := "erl"}}, #{config := Test}) -> Test ! {logged, Text};
log(_, _) -> ok.

replaced_functions_of_the_library_are_not_ours(_Config) ->
    ?assertEqual(1.0, call(frozen, [])),
    ?assertEqual(4.0, py:func(math, sqrt, [16])),
    ?assertEqual(7, call(ask, [7])),
    ?assertError({py, timeout}, py:func(py_entered, recursed, [0, 5_000], #{timeout => 100})),
    ?assertEqual(4.0, py:func(math, sqrt, [16])).
