%%% What those who measure are told: events for handlers and for `telemetry', and the live table.
-module(py_events_SUITE).

-include_lib("stdlib/include/assert.hrl").

-export([suite/0, all/0, init_per_testcase/2, end_per_testcase/2]).
-export([
    a_call_has_a_start_and_an_end/1,
    a_call_that_fails_has_an_exception/1,
    workers_start_end_and_are_recycled/1,
    queues_and_cancelled_calls_are_told/1,
    a_handler_that_fails_is_taken_out/1,
    telemetry_gets_the_same_where_it_is_loaded/1,
    top_shows_the_workers_and_their_rate_until_a_key_is_pressed/1
]).

suite() -> [{timetrap, {minutes, 5}}].

all() -> [F || {F, 1} <- ?MODULE:module_info(exports), F =/= module_info].

init_per_testcase(_, Config) ->
    ok = py_application:start([{default, #{size => 1}}]),
    Config.

end_per_testcase(_, _Config) ->
    py_events:detach(?MODULE),
    py_application:stop().

listen() ->
    Test = self(),
    ok = py_events:attach(?MODULE, fun(Name, Measurements, Metadata) -> Test ! {event, Name, Measurements, Metadata} end).

%% The next event of this name; those of other names are dropped.
event(Name) ->
    receive
        {event, Name, Measurements, Metadata} -> {Measurements, Metadata};
        {event, _, _, _} -> event(Name)
    after 5_000 -> ct:fail({no_event, Name})
    end.

no_more() ->
    py_events:detach(?MODULE),
    receive {event, _, _, _} -> no_more() after 0 -> ok end.

a_call_has_a_start_and_an_end(_Config) ->
    listen(),
    3 = py:add(1, 2),
    {#{system_time := _}, #{pool := default, call := {wrapper, call}, args := [operator, add, [1, 2], []]}} =
        event([py, call, start]),
    {#{duration := Duration}, #{pool := default}} = event([py, call, stop]),
    ?assert(Duration > 0),
    no_more(),
    3 = py:add(1, 2),
    receive Event -> ct:fail({still_there, Event}) after 0 -> ok end.

a_call_that_fails_has_an_exception(_Config) ->
    listen(),
    ?assertError({python, _, _, _}, py:truediv(1, 0)),
    {_, #{error := {python, 'builtins.ZeroDivisionError', _, _}}} = event([py, call, exception]),
    no_more().

workers_start_end_and_are_recycled(_Config) ->
    listen(),
    [#{worker := Worker, os_pid := OsPid}] = py:workers(),
    py_os_process:kill(OsPid),
    {_, #{worker := Worker, pool := default, reason := {signal, 9, _}}} = event([py, worker, down]),
    {_, #{worker := Worker, os_pid := Next}} = event([py, worker, start]),
    ?assertNotEqual(OsPid, Next),
    ok = py:restart_worker(Worker),
    {_, #{worker := Worker, os_pid := Next}} = event([py, worker, recycle]),
    {_, #{worker := Worker}} = event([py, worker, start]),
    no_more().

queues_and_cancelled_calls_are_told(_Config) ->
    {ok, _} = py:start_pool(narrow, #{size => 1, max_queue => 0}),
    listen(),
    Busy = spawn(fun() -> py:func(time, sleep, [60], #{pool => narrow}) end),
    py_eventually:holds(fun() -> [#{in_flight := Count}] = py:workers(narrow), Count =:= 1 end),
    ?assertError({py, overload}, py:func(os, getpid, #{pool => narrow})),
    {#{waiting := _}, _} = event([py, queue, full]),
    exit(Busy, kill),
    {_, #{calls := 1}} = event([py, call, cancel]),
    no_more().

a_handler_that_fails_is_taken_out(_Config) ->
    ok = py_events:attach(?MODULE, fun(_, _, _) -> error(no_handler) end),
    ?assert(py_events:is_on()),
    ?assertEqual(3, py:add(1, 2)),
    ?assertNot(py_events:is_on()).

%% A module of that name, as the library's: it is none of ours, and not there where the tests run.
telemetry_gets_the_same_where_it_is_loaded(_Config) ->
    false = erlang:module_loaded(telemetry),
    Source = "-module(telemetry). -export([execute/3]). execute(N, M, D) -> telemetry_test ! {event, N, M, D}, ok.",
    Forms = [element(2, erl_parse:parse_form(Tokens)) || Tokens <- forms(Source)],
    {ok, telemetry, Code} = compile:forms(Forms),
    true = register(telemetry_test, self()),
    {module, telemetry} = code:load_binary(telemetry, "telemetry.erl", Code),
    try
        3 = py:add(1, 2),
        {_, #{args := [operator, add, [1, 2], []]}} = event([py, call, start]),
        {#{duration := _}, _} = event([py, call, stop])
    after
        code:delete(telemetry),
        code:purge(telemetry),
        unregister(telemetry_test)
    end,
    no_more().

forms(Source) ->
    {ok, Tokens, _} = erl_scan:string(Source),
    split(Tokens, []).

split([], []) -> [];
split([{dot, _} = Dot | Rest], Form) -> [lists:reverse([Dot | Form]) | split(Rest, [])];
split([Token | Rest], Form) -> split(Rest, [Token | Form]).

top_shows_the_workers_and_their_rate_until_a_key_is_pressed(_Config) ->
    [#{worker := Worker}] = py:workers(),
    Test = self(),
    Terminal = spawn_link(fun() -> terminal(none, []) end),
    spawn_link(fun() ->
        group_leader(Terminal, self()),
        Test ! {top, py:top(20)}
    end),
    %% The second picture has a rate.
    py_eventually:holds(fun() -> string:find(shown(Terminal), " 0 calls/s") =/= nomatch end),
    ?assertNotEqual(nomatch, string:find(shown(Terminal), pid_to_list(Worker))),
    Terminal ! {press, "\\n"},
    receive {top, Result} -> ?assertEqual(ok, Result) after 5_000 -> ct:fail(top_goes_on) end.

shown(Terminal) ->
    Terminal ! {shown, self()},
    receive {Terminal, Text} -> Text end.

%% A group leader whose reader waits until a key is pressed.
terminal(Reader, Printed) ->
    receive
        {io_request, From, Reply, {get_line, _, _}} ->
            terminal({From, Reply}, Printed);
        {press, Line} ->
            {From, Reply} = Reader,
            From ! {io_reply, Reply, Line},
            terminal(none, Printed);
        Other ->
            terminal(Reader, printed(Other, Printed))
    end.

printed({io_request, From, Reply, {put_chars, unicode, M, F, A}}, Printed) ->
    From ! {io_reply, Reply, ok},
    [Printed, apply(M, F, A)];
printed({io_request, From, Reply, {put_chars, unicode, Text}}, Printed) ->
    From ! {io_reply, Reply, ok},
    [Printed, Text];
printed({io_request, From, Reply, _}, Printed) ->
    From ! {io_reply, Reply, {error, enotsup}},
    Printed;
printed({shown, From}, Printed) ->
    From ! {self(), unicode:characters_to_list(Printed)},
    Printed.
