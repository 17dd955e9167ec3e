%%% ErlPort's Erlang API, with our Python, and with one that knows nothing of ours (`erlport_peer.py').
-module(py_erlport_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-export([suite/0, all/0, groups/0, init_per_testcase/2, end_per_testcase/2]).
%% Start and end.
-export([
    an_instance_starts_calls_and_stops/1,
    an_instance_has_the_name_it_is_given/1,
    an_instance_that_is_stopped_fails_the_call_that_runs/1,
    an_instance_whose_python_dies_ends_with_it/1,
    a_linked_instance_ends_with_its_owner/1,
    a_supervisor_starts_another_instance_for_one_that_died/1,
    options_that_are_wrong_are_named/1,
    a_python_that_is_missing_or_none_is_told/1,
    a_python_that_says_nothing_is_given_up_after_its_start_timeout/1,
    an_interpreter_may_have_arguments/1,
    a_directory_of_the_name_does_not_hide_erlport/1,
    options_reach_python/1,
    every_wire_that_the_options_name_works/1
]).
%% Calls.
-export([
    values_are_mapped_as_in_erlport/1,
    erlports_types_need_no_import/1,
    python_exceptions_are_errors_of_the_caller/1,
    a_call_that_is_none_is_refused/1,
    a_timeout_is_the_callers_and_the_instance_lives/1,
    the_instance_has_a_timeout_for_all_calls/1,
    an_asynchronous_call_returns_at_once/1,
    an_asynchronous_call_that_fails_ends_the_instance/1,
    what_is_too_long_for_the_packet_is_an_error/1,
    calls_of_many_processes_get_their_own_answers/1
]).
%% Calls back and messages.
-export([
    python_calls_erlang/1,
    a_failure_of_erlang_is_a_call_error/1,
    a_failure_of_python_passes_through_erlang/1,
    messages_reach_the_message_handler/1,
    a_message_handler_that_fails_ends_the_instance/1,
    python_sends_messages/1,
    python_prints_where_the_instance_was_started/1,
    what_python_prints_is_a_binary_for_the_group_leader/1,
    an_encoder_and_a_decoder_map_values/1,
    what_programs_of_erlports_users_do_works/1,
    what_they_do_works_in_a_pool/1
]).
%% Another Python.
-export([
    conversations_are_held_byte_for_byte/1,
    a_python_that_knows_only_erlports_protocol_works/1,
    an_answer_that_can_not_be_read_ends_no_caller_in_silence/1
]).
-export([init/1]).

suite() -> [{timetrap, {minutes, 5}}].

all() -> [{group, Group} || {Group, _, _} <- groups()].

groups() ->
    [
        {start_and_end, [], [
            an_instance_starts_calls_and_stops,
            an_instance_has_the_name_it_is_given,
            an_instance_that_is_stopped_fails_the_call_that_runs,
            an_instance_whose_python_dies_ends_with_it,
            a_linked_instance_ends_with_its_owner,
            a_supervisor_starts_another_instance_for_one_that_died,
            options_that_are_wrong_are_named,
            a_python_that_is_missing_or_none_is_told,
            a_python_that_says_nothing_is_given_up_after_its_start_timeout,
            an_interpreter_may_have_arguments,
            a_directory_of_the_name_does_not_hide_erlport,
            options_reach_python,
            every_wire_that_the_options_name_works
        ]},
        {calls, [], [
            values_are_mapped_as_in_erlport,
            erlports_types_need_no_import,
            python_exceptions_are_errors_of_the_caller,
            a_call_that_is_none_is_refused,
            a_timeout_is_the_callers_and_the_instance_lives,
            the_instance_has_a_timeout_for_all_calls,
            an_asynchronous_call_returns_at_once,
            an_asynchronous_call_that_fails_ends_the_instance,
            what_is_too_long_for_the_packet_is_an_error,
            calls_of_many_processes_get_their_own_answers
        ]},
        {calls_back, [], [
            python_calls_erlang,
            a_failure_of_erlang_is_a_call_error,
            a_failure_of_python_passes_through_erlang,
            messages_reach_the_message_handler,
            a_message_handler_that_fails_ends_the_instance,
            python_sends_messages,
            python_prints_where_the_instance_was_started,
            what_python_prints_is_a_binary_for_the_group_leader,
            an_encoder_and_a_decoder_map_values,
            what_programs_of_erlports_users_do_works,
            what_they_do_works_in_a_pool
        ]},
        {another_python, [], [
            conversations_are_held_byte_for_byte,
            a_python_that_knows_only_erlports_protocol_works,
            an_answer_that_can_not_be_read_ends_no_caller_in_silence
        ]}
    ].

%% What ends badly here is meant to, and need not be in the log.
init_per_testcase(_, Config) ->
    #{level := Level} = logger:get_primary_config(),
    ok = logger:set_primary_config(level, none),
    [{log_level, Level} | Config].

end_per_testcase(_, Config) ->
    ok = logger:set_primary_config(level, ?config(log_level, Config)),
    Messages = py_application:messages(),
    try py_eventually:equals([], fun py_os_process:descendants/0) of
        ok when Messages =:= [] -> ok;
        ok -> {fail, {messages_left, Messages}}
    catch
        error:{never, #{last := Left}} ->
            %% Not the next case's.
            [py_os_process:kill(Pid) || {Pid, _} <- Left],
            {fail, {processes_left, Left}}
    end.

%%% Start and end

an_instance_starts_calls_and_stops(_Config) ->
    {ok, Python} = py_erlport:start(),
    ?assertEqual(3, py_erlport:call(Python, operator, add, [1, 2])),
    ?assertEqual([], [Pid || {links, Pids} <- [process_info(Python, links)], Pid <- Pids, is_pid(Pid)]),
    ok = py_erlport:stop(Python),
    ?assertNot(is_process_alive(Python)),
    ok = py_erlport:stop(Python),
    ok = py_erlport:stop(nobody),
    ?assertExit({noproc, _}, py_erlport:call(Python, operator, add, [1, 2])),
    ?assertEqual(ok, py_erlport:cast(Python, hello)).

an_instance_has_the_name_it_is_given(_Config) ->
    Names = [{local, py_erlport_one}, {global, {py_erlport, two}}, {via, global, py_erlport_three}],
    [
        begin
            {ok, Python} = py_erlport:start(Name),
            Called =
                case Name of
                    {local, Local} -> Local;
                    _ -> Name
                end,
            ?assertEqual(3, py_erlport:call(Called, operator, add, [1, 2])),
            ?assertEqual({error, {already_started, Python}}, py_erlport:start(Name, [{packet, 2}])),
            ok = py_erlport:stop(Called)
        end
     || Name <- Names
    ],
    {ok, Linked} = py_erlport:start_link({local, py_erlport_one}),
    ?assertEqual(Linked, whereis(py_erlport_one)),
    ok = py_erlport:stop(Linked).

an_instance_that_is_stopped_fails_the_call_that_runs(Config) ->
    Python = start(Config, []),
    Call = later(fun() -> py_erlport:call(Python, erlport_work, sleep, [60]) end),
    py_eventually:holds(fun() -> has_sent(Python, 1) end),
    ok = py_erlport:stop(Python),
    ?assertEqual({error, {port_closed, stopped}}, outcome(Call)).

an_instance_whose_python_dies_ends_with_it(Config) ->
    [Busy, Idle] = Pythons = [start(Config, []) || _ <- [1, 2]],
    [Monitor, IdleMonitor] = [monitor(process, Python) || Python <- Pythons],
    ?assertError({port_closed, {code, 3}}, py_erlport:call(Busy, erlport_work, die, [3])),
    ?assertEqual({port_closed, {code, 3}}, down(Monitor)),
    py_os_process:kill(py_erlport:call(Idle, os, getpid, [])),
    ?assertEqual({port_closed, {code, 137}}, down(IdleMonitor)).

a_linked_instance_ends_with_its_owner(Config) ->
    Options = options(Config, []),
    Self = self(),
    Owner = spawn(fun() ->
        {ok, Python} = py_erlport:start_link(Options),
        Self ! {started, Python},
        receive stop -> exit(done) end
    end),
    Python = receive {started, Pid} -> Pid end,
    Monitor = monitor(process, Python),
    Owner ! stop,
    ?assertEqual(done, down(Monitor)).

a_supervisor_starts_another_instance_for_one_that_died(Config) ->
    {ok, Supervisor} = supervisor:start_link(?MODULE, options(Config, [])),
    Before = whereis(py_erlport_supervised),
    catch py_erlport:call(py_erlport_supervised, erlport_work, die, [1]),
    py_eventually:holds(fun() -> is_pid(whereis(py_erlport_supervised)) andalso whereis(py_erlport_supervised) =/= Before end),
    ?assertEqual(3, py_erlport:call(py_erlport_supervised, operator, add, [1, 2])),
    unlink(Supervisor),
    Monitor = monitor(process, Supervisor),
    exit(Supervisor, shutdown),
    ?assertEqual(shutdown, down(Monitor)).

%% The supervisor's.
init(Options) ->
    Start = {py_erlport, start_link, [{local, py_erlport_supervised}, Options]},
    {ok, {#{intensity => 3, period => 10}, [#{id => python, start => Start}]}}.

options_that_are_wrong_are_named(_Config) ->
    Wrong = [{invalid_option, {packet, 3}}, {unknown_option, {pool, x}}, {invalid_option, {cd, "/no/such/directory"}}],
    [
        begin
            ?assertEqual({error, Problem}, py_erlport:start([Option])),
            ?assertEqual({error, Problem}, py_erlport:start({local, unnamed}, [Option])),
            ?assertEqual({error, Problem}, py_erlport:start_link([Option]))
        end
     || {_, Option} = Problem <- Wrong
    ],
    ?assertError(function_clause, py_erlport:start(a_name)).

a_python_that_is_missing_or_none_is_told(_Config) ->
    ?assertEqual({error, {invalid_option, {python, "no-such-python"}, not_found}}, py_erlport:start([{python, "no-such-python"}])),
    py_application:with_environment([{"ERLPORT_PYTHON", "no-such-python"}], fun() ->
        ?assertEqual({error, {invalid_option, {python, "no-such-python"}, not_found}}, py_erlport:start())
    end),
    True = os:find_executable("true"),
    ?assertMatch({error, {invalid_python, True, _}}, py_erlport:start([{python, "true"}])),
    {error, {invalid_python, _, Why}} = py_erlport:start([{env, [{"PYTHONHOME", "/no/such/directory"}]}]),
    ?assert(is_list(Why) andalso Why =/= ""),
    ?assertMatch({error, {invalid_python, _, _}}, py_erlport:start([{program, ["-c", "import no_such_module"]}])),
    Junk = "import os; os.write(1, bytes([0, 0, 0, 4]) + b'junk'); os.read(0, 1); os.read(0, 1000)",
    ?assertMatch({error, {invalid_python, _, "it does not speak" ++ _}}, py_erlport:start([{program, ["-c", Junk]}])).

a_python_that_says_nothing_is_given_up_after_its_start_timeout(_Config) ->
    Silent = [{program, ["-c", "import time; time.sleep(60)"]}, {start_timeout, 300}],
    ?assertEqual({error, timeout}, py_erlport:start(Silent)).

an_interpreter_may_have_arguments(Config) ->
    {ok, _, Interpreter} = py_launcher:find(#{python => undefined}),
    Found = unicode:characters_to_list(Interpreter),
    Spaced = filename:join(?config(priv_dir, Config), "a python"),
    ok = file:write_file(Spaced, ["#!/bin/sh\nexec '", Found, "' \"$@\"\n"]),
    ok = file:change_mode(Spaced, 8#755),
    Path = filename:join(py_launcher:priv_dir(), "python"),
    [
        begin
            {ok, Python} = py_erlport:start([{python, Asked}, {python_path, [Path, ?config(data_dir, Config)]}]),
            ?assertEqual(Dev, py_erlport:call(Python, erlport_work, is_in_dev_mode, [])),
            ?assertEqual(#{a => 1}, py_erlport:call(Python, erlport_work, same, [#{a => 1}])),
            ok = py_erlport:stop(Python)
        end
     || {Asked, Dev} <- [
            {Found, false},
            {Found ++ " -X dev", true},
            {Found ++ " -X dev -m erl", true},
            {Spaced, false},
            %% Without what is installed there: erlang-py is for pools.
            {Found ++ " -S", false},
            {Found ++ " -m erl -u -m erlport.cli", false}
        ]
    ],
    Missing = "no-such-python -m erl",
    ?assertEqual({error, {invalid_option, {python, Missing}, not_found}}, py_erlport:start([{python, Missing}])).

a_directory_of_the_name_does_not_hide_erlport(Config) ->
    Directory = filename:join(?config(priv_dir, Config), "work"),
    ok = filelib:ensure_path(filename:join(Directory, "erlport")),
    {ok, Python} = py_erlport:start(options(Config, [{cd, Directory}, {python_path, [Directory, ?config(data_dir, Config)]}])),
    ?assertEqual({failed, error, oops}, py_erlport:call(Python, erlport_work, careful, [erlang, error, [oops]])),
    ok = py_erlport:stop(Python).

options_reach_python(Config) ->
    Paths = [?config(data_dir, Config), "/no/such/directory"],
    [
        begin
            {ok, Python} = py_erlport:start([{python_path, Path}, {cd, "/"}, {env, [{"PY_ERLPORT_TEA", "green"}]}]),
            ?assertEqual(ready, py_erlport:call(Python, erlport_work, same, [ready])),
            ?assertEqual("/", py_erlport:call(Python, os, getcwd, [])),
            ?assertEqual(<<"green">>, py_erlport:call(Python, os, getenvb, [<<"PY_ERLPORT_TEA">>])),
            ok = py_erlport:stop(Python)
        end
     || Path <- [Paths, lists:append(lists:join(":", Paths))]
    ].

every_wire_that_the_options_name_works(Config) ->
    [
        begin
            Python = start(Config, [{packet, Packet}, {compressed, Level}, Stdio, {buffer_size, 64}]),
            ?assertEqual(3, py_erlport:call(Python, operator, add, [1, 2])),
            Text = lists:duplicate(200, $x),
            Packet =:= 1 orelse ?assertEqual(Text, py_erlport:call(Python, erlport_work, same, [Text])),
            Packet < 4 orelse ?assertEqual(100_000, byte_size(py_erlport:call(Python, operator, mul, [<<"x">>, 100_000]))),
            ?assertEqual(6, py_erlport:call(Python, erlport_work, apply, [lists, sum, [[1, 2, 3]]])),
            ok = py_erlport:stop(Python)
        end
     || Packet <- [1, 2, 4], Level <- [0, 6], Stdio <- [use_stdio, nouse_stdio]
    ].

%%% Calls

values_are_mapped_as_in_erlport(Config) ->
    Python = start(Config, []),
    Same = [
        0, -1, 1 bsl 100, -(1 bsl 31), 1.5, a, 'caf\x{e9}', '\x{2603}', '', true, false, undefined, none, <<>>, <<0, 255>>, "",
        "text", [300], [a | b], {}, {1, {2, [3]}}, [[]], self(), make_ref(), fun lists:sum/1, #{a => [1]}, <<1:3>>,
        [{x, self()} | self()], {'$erlport.opaque', cobol, <<>>}
    ],
    [?assertEqual(Value, py_erlport:call(Python, erlport_work, same, [Value])) || Value <- Same],
    Kinds = ["Atom", "List", "bytes", "NoneType", "bool", "int", "float", "tuple", "ImproperList", "Map", "OpaqueObject"],
    ?assertEqual(
        [list_to_binary(Kind) || Kind <- Kinds],
        py_erlport:call(Python, erlport_work, kinds, [a, "text", <<"b">>, undefined, true, 1, 1.5, {}, [a | b], #{}, self()])
    ),
    Maps = [
        #{}, #{a => [1]}, #{"key" => #{<<"k">> => undefined}}, #{#{} => [], {a, [b]} => x}, #{self() => make_ref()},
        maps:from_list([{N, N} || N <- lists:seq(1, 1000)]), [#{a => [#{b => fun lists:sum/1}]} | #{}], #{1.5 => 1, true => 2}
    ],
    [?assertEqual(Map, py_erlport:call(Python, erlport_work, same, [Map])) || Map <- Maps],
    ?assertEqual(#{green => 3, black => 4}, py_erlport:call(Python, erlport_work, prices, [[{green, 3}, {black, 4}]])),
    ?assertEqual({5, [a]}, py_erlport:call(Python, erlport_work, look_up, [#{a => 5}, a])),
    %% Python can't tell 1 and true apart as keys: better no value than another one.
    ?assertError({python, 'erl.errors.DecodeError', _, _}, py_erlport:call(Python, erlport_work, same, [#{1 => a, true => b}])),
    [?assert(py_erlport:call(Python, erlport_work, is_opaque, [Term])) || Term <- [self(), make_ref(), <<1:3>>]],
    {'$erlport.opaque', python, _} = Date = py_erlport:call(Python, datetime, date, [2024, 2, 29]),
    ?assertEqual("2024-02-29", py_erlport:call(Python, builtins, str, [Date])),
    ?assertEqual(<<"text">>, py_erlport:call(Python, 'os.path', 'basename.__call__', [<<"/text">>], [])),
    ok = py_erlport:stop(Python).

erlports_types_need_no_import(Config) ->
    Python = start(Config, []),
    [
        ?assertEqual("(Atom(b'ok'), List([1]), Map({Atom(b'k'): b'v'}))", py_erlport:call(Python, builtins, repr, [{ok, [1], #{k => <<"v">>}}]))
     || _ <- [1, 2, 3]
    ],
    ?assertEqual(true, py_erlport:call(Python, operator, eq, [ok, <<"ok">>])),
    ?assertEqual(<<"okay">>, py_erlport:call(Python, operator, add, [ok, <<"ay">>])),
    ok = py_erlport:stop(Python).

python_exceptions_are_errors_of_the_caller(Config) ->
    Python = start(Config, []),
    ?assertError({python, 'builtins.ZeroDivisionError', "division by zero", _}, py_erlport:call(Python, operator, truediv, [1, 0])),
    ?assertError({python, 'builtins.ModuleNotFoundError', _, _}, py_erlport:call(Python, no_such_module, f, [])),
    ?assertError({python, 'builtins.AttributeError', _, _}, py_erlport:call(Python, operator, no_such_function, [])),
    ?assertError({python, 'builtins.SystemExit', "3", _}, py_erlport:call(Python, sys, exit, [3])),
    {python, 'builtins.TypeError', _, [Innermost, Outermost]} =
        try py_erlport:call(Python, erlport_work, tomorrow, [x]) catch error:Error -> Error end,
    ?assertMatch({match, _}, re:run(Innermost, "File \".*erlport_work.py\", line [0-9]+, in tomorrow\n    return day \\+ ")),
    ?assertEqual("  called from Erlang\n", Outermost),
    ?assertError({python, 'builtins.ZeroDivisionError', _, ["  called from Erlang\n"]}, py_erlport:call(Python, operator, truediv, [1, 0])),
    ?assertEqual(3, py_erlport:call(Python, operator, add, [1, 2])),
    ok = py_erlport:stop(Python).

a_call_that_is_none_is_refused(Config) ->
    Python = start(Config, []),
    [
        ?assertError(badarg, py_erlport:call(Python, Module, Function, Args))
     || {Module, Function, Args} <- [{"operator", add, []}, {operator, <<"add">>, []}, {operator, add, x}, {operator, add, [1 | 2]}]
    ],
    ?assertError({unknown_option, {pool, x}}, py_erlport:call(Python, operator, add, [1, 2], [{pool, x}])),
    ?assertError({invalid_option, {timeout, -1}}, py_erlport:call(Python, operator, add, [1, 2], [{timeout, -1}])),
    ok = py_erlport:stop(Python).

a_timeout_is_the_callers_and_the_instance_lives(Config) ->
    Python = start(Config, []),
    ?assertError(timeout, py_erlport:call(Python, erlport_work, sleep, [0.3], [{timeout, 50}])),
    %% The answer that comes late is nobody's.
    ?assertEqual(3, py_erlport:call(Python, operator, add, [1, 2], [{timeout, 20_000}])),
    ?assertEqual(rested, py_erlport:call(Python, erlport_work, sleep, [0], [{timeout, infinity}])),
    ok = py_erlport:stop(Python).

the_instance_has_a_timeout_for_all_calls(Config) ->
    Python = start(Config, [{call_timeout, 100}]),
    ?assertError(timeout, py_erlport:call(Python, erlport_work, sleep, [0.3])),
    ?assertEqual(rested, py_erlport:call(Python, erlport_work, sleep, [0.3], [{timeout, 20_000}])),
    ok = py_erlport:stop(Python).

an_asynchronous_call_returns_at_once(Config) ->
    Python = start(Config, []),
    ?assertEqual(ok, py_erlport:call(Python, erlport_work, tell, [self(), hello], [async])),
    ?assertEqual(hello, receive Message -> Message end),
    ?assertEqual(3, py_erlport:call(Python, operator, add, [1, 2])),
    ok = py_erlport:stop(Python).

an_asynchronous_call_that_fails_ends_the_instance(Config) ->
    [Failing, Slow] = [start(Config, []), start(Config, [])],
    [Failed, TooSlow] = [monitor(process, Python) || Python <- [Failing, Slow]],
    ok = py_erlport:call(Failing, operator, truediv, [1, 0], [async]),
    ?assertMatch({async_call_error, {python, 'builtins.ZeroDivisionError', _, _}}, down(Failed)),
    ok = py_erlport:call(Slow, erlport_work, sleep, [60], [async, {timeout, 50}]),
    ?assertEqual(timeout, down(TooSlow)).

what_is_too_long_for_the_packet_is_an_error(Config) ->
    [
        begin
            Python = start(Config, [{packet, Packet}]),
            Long = 1 bsl (8 * Packet),
            ?assertError({py, {encode, _}}, py_erlport:call(Python, builtins, len, [binary:copy(<<"x">>, Long)])),
            ?assertError({python, 'erl.errors.EncodeError', _, _}, py_erlport:call(Python, operator, mul, [<<"x">>, Long])),
            ok = py_erlport:cast(Python, binary:copy(<<"x">>, Long)),
            ?assertMatch(
                {failed, error, {too_long, _}},
                py_erlport:call(Python, erlport_work, careful, [binary, copy, [<<"x">>, Long]])
            ),
            ?assertEqual(3, py_erlport:call(Python, operator, add, [1, 2])),
            ok = py_erlport:stop(Python)
        end
     || Packet <- [1, 2]
    ].

calls_of_many_processes_get_their_own_answers(Config) ->
    Python = start(Config, []),
    Calls = [{N, later(fun() -> [py_erlport:call(Python, operator, mul, [N, M]) || M <- lists:seq(1, 20)] end)} || N <- lists:seq(1, 30)],
    [?assertEqual([N * M || M <- lists:seq(1, 20)], outcome(Call)) || {N, Call} <- Calls],
    ok = py_erlport:stop(Python).

%%% Calls back and messages

python_calls_erlang(Config) ->
    Python = start(Config, []),
    ?assertEqual(6, py_erlport:call(Python, erlport_work, apply, [lists, sum, [[1, 2, 3]]])),
    ?assertMatch({Python, Reference} when is_reference(Reference), py_erlport:call(Python, erlport_work, whoami, [])),
    %% One inside the other.
    Inner = [Python, operator, add, [1, 2]],
    ?assertEqual(3, py_erlport:call(Python, erlport_work, apply, [py_erlport, call, Inner])),
    ?assertEqual({#{a => self()}}, py_erlport:call(Python, erlport_work, apply, [erlang, list_to_tuple, [[#{a => self()}]]])),
    ok = py_erlport:stop(Python).

a_failure_of_erlang_is_a_call_error(Config) ->
    Python = start(Config, []),
    [
        ?assertEqual({failed, Class, oops}, py_erlport:call(Python, erlport_work, careful, [erlang, Class, [oops]]))
     || Class <- [error, exit, throw]
    ],
    ?assertError(
        {python, 'erlport.erlang.CallError', _, _}, py_erlport:call(Python, erlport_work, apply, [erlang, error, [oops]])
    ),
    ?assertEqual({failed, error, undef}, py_erlport:call(Python, erlport_work, careful, [no_such_module, f, []])),
    ok = py_erlport:stop(Python).

a_failure_of_python_passes_through_erlang(Config) ->
    [Python, Other] = [start(Config, []), start(Config, [])],
    ?assertEqual(
        {<<"python">>, <<"builtins.ZeroDivisionError">>, "division by zero", ["  called from Erlang\n"]},
        py_erlport:call(Python, erlport_work, parts, [py_erlport, call, [Other, operator, truediv, [1, 0]]])
    ),
    ?assertEqual({<<"erlang">>, <<"error">>, badarg, true}, begin
        {Language, Class, Reason, Stack} = py_erlport:call(Python, erlport_work, parts, [erlang, list_to_atom, [1]]),
        {Language, Class, Reason, length(Stack) > 0}
    end),
    ?assertError({python, 'erlport.erlang.CallError', "(Atom(b'python'), Atom(b'builtins.ZeroDivisionError'), " ++ _, [_ | _]},
        py_erlport:call(Python, erlport_work, apply, [py_erlport, call, [Other, operator, truediv, [1, 0]]])),
    [ok = py_erlport:stop(Instance) || Instance <- [Python, Other]].

messages_reach_the_message_handler(Config) ->
    Python = start(Config, []),
    ok = py_erlport:cast(Python, nobody_listens_yet),
    ok = py_erlport:call(Python, erlport_work, echo_messages_to, [self()]),
    ok = py_erlport:cast(Python, {tea, self()}),
    ?assertEqual({heard, {tea, self()}}, receive First -> First end),
    Python ! "more",
    ?assertEqual({heard, "more"}, receive Second -> Second end),
    ok = py_erlport:stop(Python).

a_message_handler_that_fails_ends_the_instance(Config) ->
    Python = start(Config, []),
    Monitor = monitor(process, Python),
    ok = py_erlport:call(Python, erlport_work, fail_on_messages, []),
    ok = py_erlport:cast(Python, hello),
    ?assertMatch({message_handler_error, {python, 'builtins.ValueError', "b'hello'", _}}, down(Monitor)).

python_sends_messages(Config) ->
    Python = start(Config, []),
    register(py_erlport_listener, self()),
    Here = {py_erlport_listener, node()},
    [
        begin
            ok = py_erlport:call(Python, erlport_work, tell, [To, {hello, self()}]),
            ?assertEqual({hello, self()}, receive Message -> Message end)
        end
     || To <- [self(), py_erlport_listener, Here]
    ],
    ok = py_erlport:call(Python, erlport_work, tell, [nobody, hello]),
    unregister(py_erlport_listener),
    ok = py_erlport:stop(Python).

python_prints_where_the_instance_was_started(Config) ->
    {Python, Leader} = py_output:of_call(fun() -> start(Config, []) end),
    undefined = py_erlport:call(Python, builtins, print, [<<"green">>, tea]),
    py_eventually:equals("b'green' b'tea'\n", fun() -> py_output:text(Leader) end),
    %% What the group leader answers is no message for Python.
    ok = py_erlport:call(Python, erlport_work, echo_messages_to, [self()]),
    undefined = py_erlport:call(Python, builtins, print, [tea]),
    ?assertEqual(3, py_erlport:call(Python, operator, add, [1, 2])),
    ok = py_erlport:stop(Python),
    py_output:stop(Leader).

what_python_prints_is_a_binary_for_the_group_leader(Config) ->
    Python = start(Config, []),
    true = group_leader(self(), Python),
    [
        begin
            undefined = py_erlport:call(Python, erlport_work, say, [Text]),
            receive
                {io_request, Python, _, {put_chars, unicode, Printed}} ->
                    ?assertEqual(unicode:characters_to_binary([Text, "\n"]), Printed)
            end
        end
     || Text <- ["tea", "caf\x{e9}", [16#2603, 16#1f375]]
    ],
    ok = py_erlport:stop(Python).

an_encoder_and_a_decoder_map_values(Config) ->
    Python = start(Config, []),
    ok = py_erlport:call(Python, erlport_work, map_dates, []),
    ?assertEqual({date, {2024, 3, 1}}, py_erlport:call(Python, erlport_work, tomorrow, [{date, {2024, 2, 29}}])),
    ok = py_erlport:call(Python, erlport_work, map_nothing, []),
    ?assertError({python, 'builtins.TypeError', _, _}, py_erlport:call(Python, erlport_work, tomorrow, [{date, {2024, 2, 29}}])),
    ok = py_erlport:stop(Python).

what_programs_of_erlports_users_do_works(Config) ->
    Python = start(Config, []),
    ?assertEqual({true, <<"started">>, "start", <<"started">>, true}, py_erlport:call(Python, erlport_programs, answer_to, [start])),
    programs(fun(Function, Args) -> py_erlport:call(Python, erlport_programs, Function, Args) end, fun(Message) -> Python ! Message end),
    ok = py_erlport:stop(Python).

%% The same code; of what it gives, a dict that goes through none of ErlPort's functions is a map where the pool says so.
what_they_do_works_in_a_pool(Config) ->
    {ok, started} = py:start(),
    {ok, _} = py:start_pool(teas, #{size => 1, python_path => [?config(data_dir, Config)], dicts => map}),
    try
        [#{worker := Worker}] = py:workers(teas),
        programs(
            fun(Function, Args) -> py:pycall(erlport_programs, Function, Args, #{pool => teas}) end,
            fun(Message) -> py_worker:cast(Worker, Message) end
        )
    after
        {ok, stopped} = py:stop()
    end.

programs(Call, Send) ->
    ok = Call(register_handler, [self()]),
    Send({count, #{<<"a">> => 1, <<"b">> => #{}}}),
    ?assertEqual({python, #{keys => 2, names => [<<"a">>, <<"b">>]}}, receive {python, _} = Counted -> Counted end),
    Send({thread, 3}),
    [?assertEqual({tick, N}, receive {tick, _} = Tick -> Tick end) || N <- [0, 1, 2]],
    ?assertEqual(
        <<"{\"a\": [1, {\"k\": \"v\"}], \"id\": null, \"ok\": true}">>,
        Call(as_json, [#{a => [1, #{<<"k">> => v}], <<"id">> => undefined, ok => true}])
    ),
    ?assertEqual({true, true, true, "a"}, Call(texts, [])),
    ?assertEqual(7, Call(with_options, [#{depth => 7}])),
    ?assertEqual({ok, 5}, Call(safely, [maps, get, [a, #{a => 5}]])),
    ?assertEqual({error, {badkey, b}}, Call(safely, [maps, get, [b, #{a => 5}]])),
    ?assertEqual({other, erlang, done}, Call(safely, [erlang, exit, [done]])),
    ?assertEqual([1, 2, 3, 3], [Call(remember, [Key, 1]) || Key <- [[[1]], #{a => [#{b => 1}]}, {[], #{}}, #{a => [#{b => 1}]}]]),
    ok = Call(handle_types, []),
    Tea = #{'__struct__' => 'Elixir.Shop.Tea', name => <<"green">>, grams => 50, tags => [<<"fresh">>]},
    ?assertEqual(Tea#{grams := 100, tags := [<<"fresh">>, <<"double">>]}, Call(double, [Tea])).

%%% Another Python

conversations_are_held_byte_for_byte(Config) ->
    Conversations = py_erlport_conversations:for_erlang(),
    ?assert(length(Conversations) > 10),
    register(py_erlport_listener, self()),
    [hold(Name, Messages, Config) || {Name, Messages} <- Conversations],
    unregister(py_erlport_listener).

hold(Name, Messages, Config) ->
    ct:comment("~ts", [Name]),
    {Python, Leader} = py_output:of_call(fun() ->
        peer(Config, [{env, [{"PEER_CONVERSATION", Name}, {"PEER_VECTORS", py_erlport_conversations:file()}]}])
    end),
    hold(Messages, Python),
    Printed = lists:append([Text || {to_erlang, {'P', Text}} <- Messages]),
    py_eventually:equals(Printed, fun() -> py_output:text(Leader) end),
    ok = py_erlport:stop(Python),
    py_output:stop(Leader).

hold([{to_python, {'C', Id, Module, Function, Args}} | Rest], Python) ->
    [Expected] = [Answer || {to_erlang, {Kind, Answered, _} = Answer} <- Rest, Answered =:= Id, Kind =:= r orelse Kind =:= e],
    %% What the vectors show wrapped is wrapped on the way.
    Call = later(fun() -> py_erlport:call(Python, Module, Function, unwrapped(Args)) end),
    case Expected of
        {r, _, Value} -> ?assertEqual(Value, outcome(Call));
        {e, _, Error} -> ?assertEqual({error, Error}, outcome(Call))
    end,
    hold(Rest, Python);
hold([{to_python, {'M', Message}} | Rest], Python) ->
    ok = py_erlport:cast(Python, Message),
    hold(Rest, Python);
hold([{to_erlang, {'M', py_erlport_listener, Message}} | Rest], Python) ->
    ?assertEqual(Message, receive Heard -> Heard end),
    hold(Rest, Python);
hold([_ | Rest], Python) ->
    hold(Rest, Python);
hold([], _Python) ->
    ok.

unwrapped({'$erlport.opaque', erlang, Bytes}) -> binary_to_term(<<131, Bytes/binary>>);
unwrapped([Head | Tail]) -> [unwrapped(Head) | unwrapped(Tail)];
unwrapped(Tuple) when is_tuple(Tuple) -> list_to_tuple(unwrapped(tuple_to_list(Tuple)));
unwrapped(Map) when is_map(Map) -> maps:from_list(unwrapped(maps:to_list(Map)));
unwrapped(Term) -> Term.

a_python_that_knows_only_erlports_protocol_works(Config) ->
    [
        begin
            {Python, Leader} = py_output:of_call(fun() -> peer(Config, Options) end),
            ?assertEqual(42, py_erlport:call(Python, operator, add, [40, 2])),
            ?assertEqual(<<"ab">>, py_erlport:call(Python, 'os.path', basename, [<<"/ab">>])),
            ?assertEqual([1, {a, <<"b">>}], py_erlport:call(Python, builtins, list, [[1, {a, <<"b">>}]])),
            ?assertError({python, 'builtins.ZeroDivisionError', _, _}, py_erlport:call(Python, operator, truediv, [1, 0])),
            ok = py_erlport:cast(Python, "olleh"),
            py_eventually:equals("hello", fun() -> py_output:text(Leader) end),
            %% It dies of a tag that it does not know: all of these must come wrapped.
            Foreign = [self(), make_ref(), fun lists:sum/1, #{a => self()}, <<1:3>>],
            ?assertEqual(5, py_erlport:call(Python, builtins, len, [Foreign])),
            ok = py_erlport:stop(Python),
            py_output:stop(Leader)
        end
     || Options <- [[], [nouse_stdio], [{packet, 2}], [{compressed, 6}]]
    ].

an_answer_that_can_not_be_read_ends_no_caller_in_silence(Config) ->
    %% `{r, 1, <a tag that there is none of>}'.
    Junk = "import os,sys,time; f=lambda: os.read(0,4096); f(); w=lambda b: os.write(1,len(b).to_bytes(4,'big')+b);"
        " w(bytes.fromhex('83680364000172610161ff')); f(); w(bytes.fromhex('836803640001726101ff')); time.sleep(60)",
    Python = start(Config, [{program, ["-c", Junk]}]),
    Monitor = monitor(process, Python),
    ?assertError({py, {protocol, _}}, py_erlport:call(Python, operator, add, [1, 2])),
    ok = py_erlport:call(Python, operator, add, [1, 2], [async]),
    exit(Python, kill),
    killed = down(Monitor),
    [py_os_process:kill(Left) || {Left, _} <- py_os_process:descendants()],
    Noise = "import os; os.read(0,4096); b=bytes.fromhex('83680364000172610161ff'); os.write(1,len(b).to_bytes(4,'big')+b);"
        " os.read(0,4096); os.write(1,b'\\0\\0\\0\\4junk'); os.read(0,4096)",
    Noisy = start(Config, [{program, ["-c", Noise]}]),
    NoisyMonitor = monitor(process, Noisy),
    ?assertError({port_closed, stopped}, py_erlport:call(Noisy, operator, add, [1, 2])),
    ?assertEqual({protocol, <<"junk">>}, down(NoisyMonitor)).

%%% Instances

start(Config, Options) ->
    {ok, Python} = py_erlport:start(options(Config, Options)),
    Python.

options(Config, Options) -> Options ++ [{python_path, ?config(data_dir, Config)}].

peer(Config, Options) ->
    start(Config, [{program, [filename:join(?config(data_dir, Config), "erlport_peer.py")]} | Options]).

%% Whether Python has so many calls.
has_sent(Python, Count) -> map_size(element(6, sys:get_state(Python))) =:= Count.

%%% Calls of another process

later(Fun) ->
    {_, Monitor} = spawn_monitor(fun() ->
        exit({outcome, try Fun() catch error:Reason -> {error, Reason} end})
    end),
    Monitor.

outcome(Monitor) ->
    {outcome, Outcome} = down(Monitor),
    Outcome.

down(Monitor) ->
    receive
        {'DOWN', Monitor, process, _, Reason} -> Reason
    end.
