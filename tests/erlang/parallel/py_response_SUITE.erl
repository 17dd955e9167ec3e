%%% Results that come as messages, that are looked for, or that are folded as they come: who is answered with what, once, whatever dies.
-module(py_response_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-export([suite/0, all/0, init_per_testcase/2, end_per_testcase/2]).
-export([
    a_gen_server_serves_while_its_calls_run/1,
    a_message_answers_one_request/1,
    a_request_fails_as_a_call_does/1,
    a_request_has_a_deadline/1,
    a_death_costs_the_request_that_ran/1,
    a_pool_that_is_stopped_answers_its_requests/1,
    a_request_ends_with_its_process/1,
    a_request_can_be_cancelled/1,
    who_waits_too_short_has_no_message_or_a_later_one/1,
    an_answered_request_leaves_nothing/1,
    a_killed_group_answers_its_requests/1,
    what_a_result_refers_to_is_the_asking_process/1,
    a_request_of_references_and_of_other_nodes_is_answered/1,
    yield_looks_and_does_no_harm/1,
    yield_waits_so_long/1,
    fold_done_has_results_as_they_come/1,
    fold_done_has_each_outcome_and_cancels_what_is_late/1,
    fold_done_that_fails_cancels_the_rest/1,
    a_failure_is_explained_as_that_of_a_call/1,
    those_who_listen_are_told/1,
    a_wrong_argument_is_explained/1
]).
%% A gen_server.
-export([init/1, handle_call/3, handle_cast/2, handle_info/2]).

suite() -> [{timetrap, {minutes, 5}}].

all() ->
    [
        Case
     || {Case, 1} <- ?MODULE:module_info(exports), not lists:member(Case, [suite, init, module_info])
    ].

init_per_testcase(Case, Config) ->
    Path = filename:join(filename:dirname(string:trim(?config(data_dir, Config), trailing, "/")), "py_parallel_SUITE_data"),
    Options = #{size => 2, python_path => [Path]},
    ok = py_application:start([{default, Options}]),
    Directory = filename:join(?config(priv_dir, Config), Case),
    ok = filelib:ensure_dir(filename:join(Directory, "any")),
    [{file, unicode:characters_to_binary(filename:join(Directory, "notes"))}, {options, Options}, {before, processes()} | Config].

end_per_testcase(_, Config) ->
    try py_eventually:equals([], fun() -> ours(Config) end) of
        ok -> py_application:stop()
    catch
        error:{never, #{last := Pids}} ->
            _ = py_application:stop(),
            {fail, {processes_left, Pids}}
    end.

ours(Config) -> [Pid || Pid <- processes() -- ?config(before, Config), is_ours(Pid)].

is_ours(Pid) ->
    case process_info(Pid, current_stacktrace) of
        {current_stacktrace, Stack} -> lists:keymember(py_async_group, 1, Stack);
        undefined -> false
    end.

in_flight() -> lists:sum([Open || #{in_flight := Open} <- py:workers()]).

workers() -> [Worker || #{worker := Worker} <- py:workers()].

notes(Config) ->
    case file:read_file(?config(file, Config)) of
        {ok, Text} -> binary:split(Text, <<"\n">>, [global, trim]);
        {error, enoent} -> []
    end.

message() -> receive Message -> Message after 20_000 -> error(no_message) end.

%%% Requests

a_gen_server_serves_while_its_calls_run(_Config) ->
    {ok, Server} = gen_server:start_link(?MODULE, [], []),
    Slow = gen_server:send_request(Server, {sleep_and, 7}),
    py_eventually:equals(1, fun in_flight/0),
    ?assertEqual(pong, gen_server:call(Server, ping)),
    ?assertEqual({reply, 5}, gen_server:call(Server, {add, 2, 3})),
    ?assertMatch({error, {python, 'builtins.TypeError', _, _}}, gen_server:call(Server, {add, 2, <<"x">>})),
    ?assertEqual({reply, {reply, 7}}, gen_server:receive_response(Slow, 20_000)),
    ok = gen_server:stop(Server).

init([]) -> {ok, #{}}.

handle_call(ping, _From, Requests) -> {reply, pong, Requests};
handle_call({add, X, Y}, From, Requests) -> {noreply, Requests#{From => py:send_request(operator, add, [X, Y])}};
handle_call({sleep_and, X}, From, Requests) ->
    Code = <<"__import__('time').sleep(1) or x">>,
    {noreply, Requests#{From => py:send_request(builtins, eval, [Code, {"dict", [{<<"x">>, X}]}], #{timeout => 20_000})}}.

handle_cast(_Message, Requests) -> {noreply, Requests}.

handle_info(Message, Requests) ->
    [{From, Response}] = [
        {From, Response}
     || {From, Request} <- maps:to_list(Requests), Response <- [py:check_response(Message, Request)], Response =/= no_reply
    ],
    gen_server:reply(From, Response),
    {noreply, maps:remove(From, Requests)}.

a_message_answers_one_request(_Config) ->
    One = py:send_request(builtins, abs, [-1]),
    Two = py:send_request(builtins, sorted, [[3, 1, 2]], [{reverse, true}]),
    Three = py:send_request(builtins, str, [<<"x">>], [], #{strings => binary}),
    Answers = [
        {Name, Response}
     || Message <- [message(), message(), message()],
        {Name, Request} <- [{one, One}, {two, Two}, {three, Three}],
        Response <- [py:check_response(Message, Request)],
        Response =/= no_reply
    ],
    ?assertEqual([{one, {reply, 1}}, {three, {reply, <<"x">>}}, {two, {reply, [3, 2, 1]}}], lists:sort(Answers)),
    [?assertEqual(no_reply, py:check_response(Message, One)) || Message <- [x, {make_ref(), x, y}, {'DOWN', make_ref(), process, self(), x}]],
    ?assertEqual([], py_application:messages()).

a_request_fails_as_a_call_does(_Config) ->
    Fails = fun(Module, Function, Args, Options) ->
        {error, Error} = py:receive_response(py:send_request(Module, Function, Args, Options), 20_000),
        Error
    end,
    ?assertMatch({python, 'builtins.ValueError', _, _}, Fails(math, sqrt, [-1], #{})),
    ?assertEqual({py, {unknown_pool, none}}, Fails(math, sqrt, [2], #{pool => none})),
    ?assertEqual({py, {unknown_worker, self()}}, Fails(math, sqrt, [2], #{worker => self()})),
    {ok, stopped} = py:stop(),
    ?assertEqual({py, not_started}, Fails(math, sqrt, [2], #{})).

a_request_has_a_deadline(_Config) ->
    Request = py:send_request(time, sleep, [60], #{timeout => 100}),
    ?assertEqual({error, {py, timeout}}, py:check_response(message(), Request)),
    py_eventually:equals(0, fun in_flight/0),
    {ok, _} = py:start_pool(hasty, #{size => 1, call_timeout => 100}),
    ?assertEqual({error, {py, timeout}}, py:receive_response(py:send_request(time, sleep, [60], #{pool => hasty}), 20_000)),
    ?assertEqual([], py_application:messages()).

a_death_costs_the_request_that_ran(Config) ->
    [#{worker := Worker, os_pid := OsPid} | _] = py:workers(),
    Runs = py:send_request(py_errands, run_three, [?config(file, Config), 1, 60_000], #{worker => Worker}),
    py_eventually:holds(fun() -> notes(Config) =/= [] end),
    Waits = py:send_request(py_errands, run_three, [?config(file, Config), 2, 0], #{worker => Worker}),
    py_eventually:equals(2, fun in_flight/0),
    py_os_process:kill(OsPid),
    ?assertMatch({error, {py, {worker_down, {signal, 9, _}}}}, py:receive_response(Runs, 20_000)),
    ?assertEqual({reply, 2}, py:receive_response(Waits, 20_000)),
    ?assertEqual([<<"1">>, <<"2">>], notes(Config)).

a_pool_that_is_stopped_answers_its_requests(_Config) ->
    {ok, _} = py:start_pool(other, #{size => 1, drain_timeout => 100}),
    Requests = [py:send_request(time, sleep, [60], #{pool => other}) || _ <- lists:seq(1, 20)],
    py_eventually:equals(20, fun() -> lists:sum([Open || #{in_flight := Open} <- py:workers(other)]) end),
    ok = py:stop_pool(other),
    Errors = [Error || {error, {py, Error}} <- [py:receive_response(Request, 20_000) || Request <- Requests]],
    ?assertEqual(20, length(Errors)),
    ?assertEqual([], [Error || Error <- Errors, Error =/= {worker_down, stopped}, Error =/= {unknown_pool, other}]),
    ?assertEqual([], py_application:messages()).

a_request_ends_with_its_process(_Config) ->
    {Asker, Monitor} = spawn_monitor(fun() ->
        _ = [py:send_request(time, sleep, [60]) || _ <- lists:seq(1, 10)],
        receive stop -> ok end
    end),
    py_eventually:equals(10, fun in_flight/0),
    Asker ! stop,
    receive {'DOWN', Monitor, process, _, normal} -> ok end,
    py_eventually:equals(0, fun in_flight/0).

a_request_can_be_cancelled(_Config) ->
    Request = py:send_request(time, sleep, [60]),
    py_eventually:equals(1, fun in_flight/0),
    ok = py:cancel(Request),
    ?assertEqual({error, {py, cancelled}}, py:check_response(message(), Request)),
    py_eventually:equals(0, fun in_flight/0),
    ok = py:cancel(Request),
    Done = py:send_request(builtins, abs, [-1]),
    ?assertEqual({reply, 1}, py:wait_response(Done, 20_000)),
    ok = py:cancel(Done),
    ?assertEqual([], py_application:messages()).

who_waits_too_short_has_no_message_or_a_later_one(Config) ->
    Kept = py:send_request(py_errands, run_three, [?config(file, Config), 1, 1_000]),
    ?assertEqual(timeout, py:wait_response(Kept, 0)),
    ?assertEqual({reply, 1}, py:wait_response(Kept, 20_000)),
    Dropped = py:send_request(time, sleep, [60]),
    ?assertEqual(timeout, py:receive_response(Dropped, 10)),
    py_eventually:equals(0, fun in_flight/0),
    ?assertEqual([], py_application:messages()).

an_answered_request_leaves_nothing(Config) ->
    Before = erlang:system_info(process_count),
    _ = [py:send_request(builtins, abs, [-N]) || N <- lists:seq(1, 1_000)],
    ?assert(erlang:system_info(process_count) - Before < 100),
    py_eventually:equals(1_000, fun() -> element(2, process_info(self(), message_queue_len)) end),
    %% Nobody has looked at an answer yet.
    py_eventually:equals([], fun() -> ours(Config) end),
    ?assertEqual(1_000, length(py_application:messages())).

a_killed_group_answers_its_requests(Config) ->
    Request = py:send_request(time, sleep, [60]),
    py_eventually:equals(1, fun in_flight/0),
    [exit(Group, kill) || Group <- ours(Config)],
    ?assertEqual({error, {py, cancelled}}, py:check_response(message(), Request)),
    py_eventually:equals(0, fun in_flight/0).

what_a_result_refers_to_is_the_asking_process(_Config) ->
    {reply, Iterator} = py:receive_response(py:send_request(builtins, iter, [[5]]), 20_000),
    py_eventually:equals(1, fun() -> lists:sum([Count || #{references := Count} <- py:workers()]) end),
    ?assertEqual(5, py:next(Iterator)),
    ok = py:release(Iterator).

a_request_of_references_and_of_other_nodes_is_answered(_Config) ->
    Iterator = py:func(builtins, iter, [[1, 2, 3]]),
    ?assertEqual({reply, 1}, py:receive_response(py:send_request(builtins, next, [Iterator]), 20_000)),
    Two = py:send_request(builtins, next, [Iterator]),
    ?assertEqual({reply, 2}, py:check_response(message(), Two)),
    ok = py:release(Iterator),
    ?assertEqual({error, {py, {node_down, 'nobody@nowhere'}}},
        py:receive_response(py:send_request(math, sqrt, [2], #{node => 'nobody@nowhere'}), 20_000)),
    ?assertEqual([], py_application:messages()).

%%% Looking

yield_looks_and_does_no_harm(_Config) ->
    Slow = py:async(time, sleep, [1]),
    ?assertEqual(timeout, py:yield(Slow, 0)),
    py_eventually:holds(fun() -> py:yield(Slow, 0) =/= timeout end),
    ?assertError(badarg, py:yield(Slow, 0)),
    ?assertError(badarg, py:await(Slow)),
    Fails = py:async(math, sqrt, [-1]),
    ?assertError({python, 'builtins.ValueError', _, _}, py:yield(Fails, 20_000)),
    Cancelled = py:async(time, sleep, [60]),
    ok = py:cancel(Cancelled),
    ?assertError({py, cancelled}, py:yield(Cancelled, 0)),
    Iterator = py:func(builtins, iter, [[1]]),
    ?assertEqual({value, 1}, py:yield(py:async(builtins, next, [Iterator]), 20_000)),
    ok = py:release(Iterator),
    ?assertEqual([], py_application:messages()).

yield_waits_so_long(_Config) ->
    Slow = py:async(time, sleep, [2]),
    ?assertEqual([timeout, timeout, timeout], [py:yield(Slow, 10) || _ <- [1, 2, 3]]),
    ?assertEqual({value, undefined}, py:yield(Slow, infinity)),
    %% One that has asked in vain may await, look, or gather.
    Other = py:async(builtins, abs, [-1]),
    _ = py_eventually:equals(0, fun in_flight/0),
    Never = py:async(time, sleep, [60]),
    ?assertEqual(timeout, py:yield(Never, 1)),
    ok = py:cancel(Never),
    ?assertEqual([{ok, 1}, {error, {py, cancelled}}], py:gather_all([Other, Never])),
    ?assertEqual([], py_application:messages()).

%%% Folding

fold_done_has_results_as_they_come(Config) ->
    File = ?config(file, Config),
    [One, Two] = workers(),
    Handles = [Slow | Fast] = [
        py:async(py_errands, run_three, [File, N, Ms], #{worker => Worker})
     || {N, Ms, Worker} <- [{0, 1_000, One}, {1, 0, Two}, {2, 0, Two}, {3, 0, Two}]
    ],
    Seen = py:fold_done(fun(Handle, {ok, N}, Acc) -> [{Handle, N} | Acc] end, [], Handles),
    ?assertEqual({Slow, 0}, hd(Seen)),
    ?assertEqual(lists:sort(lists:zip(Handles, [0, 1, 2, 3])), lists:sort(Seen)),
    ?assertEqual(none, py:fold_done(fun(_, _, _) -> some end, none, [])),
    ?assertError(badarg, py:fold_done(fun(_, _, Acc) -> Acc end, 0, Fast)),
    %% Of a scatter, too.
    Sum = fun(_, {ok, N}, Acc) -> N + Acc end,
    ?assertEqual(-5_050, py:fold_done(Sum, 0, py:scatter(operator, neg, [[N] || N <- lists:seq(1, 100)]))).

fold_done_has_each_outcome_and_cancels_what_is_late(_Config) ->
    Kind = fun
        (_, {ok, _}, Acc) -> [ok | Acc];
        (_, {error, {py, Reason}}, Acc) -> [Reason | Acc];
        (_, {error, {python, Class, _, _}}, Acc) -> [Class | Acc]
    end,
    [One, Two] = workers(),
    Cancelled = py:async(time, sleep, [60], #{worker => Two}),
    ok = py:cancel(Cancelled),
    Handles = [py:async(time, sleep, [60], #{worker => One}) | [py:async(math, sqrt, [X], #{worker => Two}) || X <- [-1, 1]]] ++ [Cancelled],
    ?assertEqual(['builtins.ValueError', cancelled, ok, timeout], lists:sort(py:fold_done(Kind, [], Handles, 5_000))),
    py_eventually:equals(0, fun in_flight/0),
    ?assertEqual([], py_application:messages()).

fold_done_that_fails_cancels_the_rest(_Config) ->
    Handles = [py:async(time, sleep, [60]), py:async(builtins, abs, [-1])],
    ?assertError(enough, py:fold_done(fun(_, _, _) -> error(enough) end, [], Handles)),
    py_eventually:equals(0, fun in_flight/0),
    ?assertEqual([], py_application:messages()).

%%% Failures

a_failure_is_explained_as_that_of_a_call(_Config) ->
    Matrix = {matrix, 1, 1, <<255, 255, 255, 255, 255, 255, 255, 255>>},
    Same = fun(Args) ->
        Called = catch_error(fun() -> py:func(builtins, len, [Args]) end),
        ?assertEqual(Called, catch_error(fun() -> py:await(py:async(builtins, len, [Args])) end)),
        ?assertEqual({error, Called}, py:receive_response(py:send_request(builtins, len, [Args]), 20_000)),
        Called
    end,
    {py, {decode, Text}} = Same(Matrix),
    ?assertNotEqual(nomatch, string:find(Text, "haystack => true")),
    ?assertMatch({py, {decode, _}}, Same(<<255>>)),
    ?assertEqual({py, {node_down, 'nobody@nowhere'}}, Same({'$py.shm', {'nobody@nowhere', <<"0123456789abcdef-1-1">>, {0, 1}, bytes}})).

catch_error(Fun) ->
    try Fun() of Value -> {no_error, Value}
    catch error:Error -> Error
    end.

those_who_listen_are_told(_Config) ->
    Test = self(),
    ok = py_events:attach(?MODULE, fun
        ([py, call, Event], _, #{call := {wrapper, call}, args := [operator, _, Args, []]}) -> Test ! {Event, Args};
        (_, _, _) -> ok
    end),
    3 = py:await(py:async(operator, add, [1, 2])),
    {error, _} = py:receive_response(py:send_request(operator, truediv, [1, 0]), 20_000),
    [7] = py:gather(py:scatter(operator, add, [[3, 4]])),
    ok = py_events:detach(?MODULE),
    ?assertEqual(
        [{exception, [1, 0]}, {start, [1, 0]}, {start, [1, 2]}, {start, [3, 4]}, {stop, [1, 2]}, {stop, [3, 4]}],
        lists:sort(py_application:messages())
    ).

a_wrong_argument_is_explained(_Config) ->
    Request = py:send_request(builtins, abs, [-1]),
    Handle = py:async(builtins, abs, [-1]),
    [
        ?assertEqual({Position, nomatch =/= string:find(Text, Part)}, {Position, true})
     || {Position, Part, Fun} <- [
            {2, "must be a request", fun() -> py:check_response(x, Handle) end},
            {1, "must be a request", fun() -> py:receive_response(Handle, 0) end},
            {1, "must be a request", fun() -> py:wait_response(x, 0) end},
            {2, "milliseconds", fun() -> py:wait_response(Request, -1) end},
            {2, "milliseconds", fun() -> py:yield(Handle, soon) end},
            {1, "must be a handle", fun() -> py:yield(Request, 0) end},
            {1, "fun of three", fun() -> py:fold_done(fun(_) -> ok end, 0, []) end},
            {3, "list of handles", fun() -> py:fold_done(fun(_, _, A) -> A end, 0, [x]) end},
            {4, "milliseconds", fun() -> py:fold_done(fun(_, _, A) -> A end, 0, [], x) end},
            {3, "list of arguments", fun() -> py:send_request(math, sqrt, 2) end},
            {4, "unknown option", fun() -> py:send_request(math, sqrt, [2], #{tiemout => 1}) end},
            {1, "must be a handle", fun() -> py:cancel(x) end}
        ],
        Text <- [explanation(Position, Fun)]
    ],
    {reply, 1} = py:receive_response(Request, 20_000),
    1 = py:await(Handle).

explanation(Position, Fun) ->
    try Fun() of
        Value -> error({no_error, Value})
    catch
        error:badarg:Stack ->
            #{Position := Text} = py_error:format_error(badarg, Stack),
            unicode:characters_to_list(Text)
    end.
