%%% Tasks of many clients that share a pool: each is answered once, the clients have their turns, and nothing stays counted that is over.
-module(py_dispatcher_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-export([suite/0, all/0, init_per_testcase/2, end_per_testcase/2]).
-export([
    each_answer_has_its_key/1,
    clients_are_served_in_turn/1,
    short_tasks_do_not_wait_behind_a_long_one/1,
    prints_come_before_the_answer/1,
    a_task_that_names_its_worker_goes_there/1,
    a_task_whose_time_is_over_is_told/1,
    a_task_that_was_cancelled_is_answered_by_nobody/1,
    a_task_that_waits_is_dropped_and_one_that_runs_is_not/1,
    nothing_more_is_begun_for_a_client_that_is_held/1,
    a_full_queue_is_told/1,
    tasks_wait_while_no_worker_serves/1,
    a_pool_that_is_not_there_is_told/1,
    tasks_of_a_pool_that_stops_are_told/1,
    a_pool_that_is_started_anew_has_a_dispatcher/1,
    a_killed_dispatcher_is_told_and_replaced/1,
    an_owner_that_dies_ends_its_task/1,
    a_pool_is_as_fast_as_before_after_all_that_can_happen/1,
    none_begins_twice_whatever_dies/1
]).

suite() -> [{timetrap, {minutes, 5}}].

all() -> [Case || {Case, 1} <- ?MODULE:module_info(exports), not lists:member(Case, [module_info, init_per_suite, end_per_suite])].

init_per_testcase(Case, Config) ->
    Path = filename:join(filename:dirname(filename:dirname(?config(data_dir, Config))), "../worker/py_sharing_SUITE_data"),
    Pool = #{size => 2, kill_after => 300, python_path => [Path], restart => #{max => 1_000, delay => 1, max_delay => 1}},
    ok = py_application:start([{default, maps:merge(Pool, options(Case))}]),
    [{file, filename:absname(filename:join(?config(priv_dir, Config), Case))}, {pool, Pool} | Config].

options(a_full_queue_is_told) -> #{size => 1, max_queue => 2};
options(clients_are_served_in_turn) -> #{size => 1};
options(a_task_that_waits_is_dropped_and_one_that_runs_is_not) -> #{size => 1};
options(tasks_wait_while_no_worker_serves) -> #{restart => #{max => 0, delay => 200, max_delay => 200}};
options(_) -> #{}.

end_per_testcase(_, _Config) -> py_application:stop().

body(Function, Args) -> py_wire:body('erl.calls.objects', call, [0, py_shared_work, Function, Args, []]).

send(Key, Function, Args, Tasks) -> send(Key, Function, Args, #{}, Tasks).

send(Key, Function, Args, Route, Tasks) ->
    {ok, Next} = py_dispatcher:send(Key, body(Function, Args), Route, self(), Tasks),
    Next.

%% Answers by key, of as many tasks as there are.
answers(Tasks) -> answers(Tasks, []).

answers(Tasks, Answers) ->
    case py_dispatcher:size(Tasks) of
        0 ->
            py_dispatcher:close(Tasks),
            lists:reverse(Answers);
        _ ->
            {Key, Answer, Left} = answer(Tasks),
            answers(Left, [{Key, Answer} | Answers])
    end.

answer(Tasks) ->
    receive
        Message ->
            case py_dispatcher:message(Message, Tasks) of
                {answer, Key, Answer, Left} -> {Key, value(Answer), Left};
                {wait, Next} -> answer(Next)
            end
    after 30_000 -> error({no_answer, Tasks})
    end.

value({frame, Frame, trusted, {Worker, _}}) -> py_send:read(Frame, trusted, Worker);
value(Error) -> Error.

%% What close leaves on its way.
flushed(Tasks) ->
    py_dispatcher:close(Tasks),
    flushed().

flushed() -> receive {Id, _} when is_reference(Id) -> flushed() after 0 -> ok end.

file(Config) -> list_to_binary(?config(file, Config)).

let_end(Config) -> ok = file:write_file(?config(file, Config), "").

in_flight() -> [Count || #{in_flight := Count} <- py:workers()].

each_answer_has_its_key(Config) ->
    Tasks = lists:foldl(fun(N, Acc) -> send(N, note, [file(Config), N], Acc) end, py_dispatcher:new(), lists:seq(1, 200)),
    ?assertEqual(200, py_dispatcher:size(Tasks)),
    ?assertEqual([{N, {ok, N}} || N <- lists:seq(1, 200)], lists:sort(answers(Tasks))).

%% One that has sent four hundred does not hold up another's one: no more than the hand and a few turns are before it.
clients_are_served_in_turn(Config) ->
    File = file(Config),
    Many = lists:foldl(fun(N, Acc) -> send(N, noted, [File, N, 0.003], Acc) end, py_dispatcher:new(), lists:seq(1, 400)),
    {_, {ok, _}, Begun} = answer(Many),
    Other = py_caller:start(fun() -> answers(send(one, note, [File, 1_000], py_dispatcher:new())) end),
    ?assertEqual({ok, [{one, {ok, 1_000}}]}, py_caller:result(Other)),
    ?assertEqual(399, length(answers(Begun))),
    {ok, Noted} = file:read_file(File),
    Lines = binary:split(Noted, <<"\n">>, [global]),
    Before = length(lists:takewhile(fun(Line) -> Line =/= <<"1000">> end, Lines)),
    %% The 399 others were sent before.
    ?assert(Before < 100, Before).

short_tasks_do_not_wait_behind_a_long_one(Config) ->
    Long = send(long, until, [file(Config)], py_dispatcher:new()),
    py_eventually:holds(fun() -> lists:sum(in_flight()) =:= 1 end),
    Short = py_caller:start(fun() ->
        answers(lists:foldl(fun(N, Acc) -> send(N, pid, [0.001], Acc) end, py_dispatcher:new(), lists:seq(1, 200)))
    end),
    {ok, Answers} = py_caller:result(Short),
    ?assertMatch([_], lists:usort([Pid || {_, {ok, Pid}} <- Answers])),
    let_end(Config),
    ?assertMatch([{long, {ok, _}}], answers(Long)).

prints_come_before_the_answer(_Config) ->
    {Result, Leader} = py_output:of_call(fun() ->
        {ok, Tasks} = py_dispatcher:send(1, py_wire:body('erl.calls.objects', call, [0, builtins, print, [<<"said">>], []]), #{}, self(), py_dispatcher:new()),
        answers(Tasks)
    end),
    ?assertMatch({ok, [{1, {ok, _}}]}, normal(Result)),
    ?assertEqual("said\n", lists:flatten(io_lib:format("~ts", [py_output:text(Leader)]))),
    py_output:stop(Leader).

normal({ok, _} = Ok) -> Ok;
normal(Result) -> {ok, Result}.

a_task_that_names_its_worker_goes_there(_Config) ->
    [_, #{worker := Worker, os_pid := OsPid}] = py:workers(),
    ?assertEqual([{1, {ok, OsPid}}], answers(send(1, pid, [0], #{worker => Worker}, py_dispatcher:new()))).

a_task_whose_time_is_over_is_told(Config) ->
    Running = [send(Key, until, [file(Config)], #{timeout => 300}, py_dispatcher:new()) || Key <- [1]],
    Tasks = lists:foldl(fun(N, Acc) -> send(N, until, [file(Config)], #{timeout => 300}, Acc) end, hd(Running), lists:seq(2, 9)),
    ?assertEqual([{N, {error, {py, timeout}}} || N <- lists:seq(1, 9)], lists:sort(answers(Tasks))),
    let_end(Config),
    ?assertMatch([{1, {ok, _}}], answers(send(1, pid, [0], py_dispatcher:new()))).

a_task_that_was_cancelled_is_answered_by_nobody(Config) ->
    Tasks = lists:foldl(fun(N, Acc) -> send(N, until, [file(Config)], Acc) end, py_dispatcher:new(), lists:seq(1, 9)),
    Left = lists:foldl(fun py_dispatcher:cancel/2, Tasks, lists:seq(1, 9)),
    ?assertEqual(0, py_dispatcher:size(Left)),
    ?assertEqual(Left, py_dispatcher:cancel(1, Left)),
    %% They are interrupted.
    ?assertMatch([{1, {ok, _}}, {2, {ok, _}}], lists:sort(answers(send(2, pid, [0.1], send(1, pid, [0.1], Left))))).

a_task_that_waits_is_dropped_and_one_that_runs_is_not(Config) ->
    First = send(1, until, [file(Config)], py_dispatcher:new()),
    py_eventually:holds(fun() -> in_flight() =:= [1] end),
    %% The second is in the hand of the worker.
    Tasks = send(3, note, [file(Config), 3], send(2, pid, [0], First)),
    asked = py_dispatcher:drop(3, Tasks),
    {dropped, 3, Left} = said(Tasks),
    asked = py_dispatcher:drop(1, Left),
    {begun, 1, Same} = said(Left),
    ?assertEqual(begun, py_dispatcher:drop(77, Same)),
    let_end(Config),
    ?assertMatch([{1, {ok, _}}, {2, {ok, _}}], answers(Same)),
    ?assertEqual({ok, <<>>}, file:read_file(?config(file, Config))).

said(Tasks) ->
    receive
        Message -> py_dispatcher:message(Message, Tasks)
    after 10_000 -> error(nothing_said)
    end.

nothing_more_is_begun_for_a_client_that_is_held(Config) ->
    {_, {ok, 0}, None} = answer(send(0, note, [file(Config), 0], py_dispatcher:new())),
    Held = py_dispatcher:hold(None),
    Tasks = lists:foldl(fun(N, Acc) -> send(N, note, [file(Config), N], Acc) end, Held, lists:seq(1, 20)),
    %% Another client has its turn meanwhile.
    Other = py_caller:start(fun() -> answers(send(one, note, [file(Config), 100], py_dispatcher:new())) end),
    ?assertEqual({ok, [{one, {ok, 100}}]}, py_caller:result(Other)),
    ?assertEqual({ok, <<"0\n100\n">>}, file:read_file(?config(file, Config))),
    ?assertEqual([{N, {ok, N}} || N <- lists:seq(1, 20)], lists:sort(answers(py_dispatcher:go_on(Tasks)))).

a_full_queue_is_told(Config) ->
    Tasks = lists:foldl(fun(N, Acc) -> send(N, until, [file(Config)], Acc) end, py_dispatcher:new(), lists:seq(1, 10)),
    {Key, {error, {py, overload}}, Left} = answer(Tasks),
    ?assert(Key > 3, Key),
    let_end(Config),
    Answers = answers(Left),
    ?assertEqual([], [Answer || {_, Answer} <- Answers, Answer =/= {error, {py, overload}}, element(1, Answer) =/= ok]),
    ?assertMatch([{1, {ok, _}}, {2, {ok, _}}, {3, {ok, _}} | _], lists:sort(Answers)).

%% Calls of Erlang's fail at once meanwhile: the workers have died too often.
tasks_wait_while_no_worker_serves(_Config) ->
    Ends = fun(N, Acc) ->
        {ok, Next} = py_dispatcher:send(N, py_wire:body('erl.calls.objects', call, [0, os, '_exit', [3], []]), #{}, self(), Acc),
        Next
    end,
    Deaths = answers(lists:foldl(Ends, py_dispatcher:new(), [1, 2])),
    ?assertMatch([{_, {error, {py, {worker_down, {exit_status, 3, _}}}}}, {_, {error, {py, {worker_down, {exit_status, 3, _}}}}}], Deaths),
    py_eventually:holds(fun() -> [] =:= [State || #{state := State} <- py:workers(), State =:= serving] end),
    Waiting = lists:foldl(fun(N, Acc) -> send(N, pid, [0], Acc) end, py_dispatcher:new(), lists:seq(1, 20)),
    ?assertEqual([], [Failed || {_, {error, _}} = Failed <- answers(Waiting)]).

a_pool_that_is_not_there_is_told(_Config) ->
    ?assertEqual(
        {error, {py, {unknown_pool, nowhere}}}, py_dispatcher:send(1, body(pid, [0]), #{pool => nowhere}, self(), py_dispatcher:new())
    ).

tasks_of_a_pool_that_stops_are_told(Config) ->
    {ok, _} = py:start_pool(other, (?config(pool, Config))#{drain_timeout => 200}),
    Tasks = lists:foldl(fun(N, Acc) -> send(N, until, [file(Config)], #{pool => other}, Acc) end, py_dispatcher:new(), lists:seq(1, 9)),
    py_eventually:holds(fun() -> [Count || #{in_flight := Count} <- py:workers(other), Count > 0] =/= [] end),
    ok = py:stop_pool(other),
    Answers = answers(Tasks),
    ?assertEqual([], [Answer || {_, Answer} <- Answers, not is_stopped(Answer)]),
    let_end(Config).

is_stopped({error, {py, {unknown_pool, other}}}) -> true;
is_stopped({error, {py, {worker_down, _}}}) -> true;
is_stopped(_) -> false.

a_pool_that_is_started_anew_has_a_dispatcher(Config) ->
    [
        begin
            {ok, _} = py:start_pool(other, ?config(pool, Config)),
            ?assertMatch([{1, {ok, _}}], answers(send(1, pid, [0], #{pool => other}, py_dispatcher:new()))),
            ok = py:stop_pool(other)
        end
     || _ <- lists:seq(1, 3)
    ],
    ?assertMatch([{1, {ok, _}}], answers(send(1, pid, [0], py_dispatcher:new()))).

a_killed_dispatcher_is_told_and_replaced(Config) ->
    Tasks = lists:foldl(fun(N, Acc) -> send(N, until, [file(Config)], Acc) end, py_dispatcher:new(), lists:seq(1, 9)),
    {ok, Dispatcher} = py_registry:dispatcher(default),
    exit(Dispatcher, kill),
    ?assertEqual([{N, {error, {py, {worker_down, killed}}}} || N <- lists:seq(1, 9)], lists:sort(answers(Tasks))),
    %% What it had given ends.
    py_eventually:equals([0, 0], fun in_flight/0),
    ?assertMatch([{1, {ok, _}}], answers(send(1, pid, [0], py_dispatcher:new()))).

an_owner_that_dies_ends_its_task(Config) ->
    Owner = spawn(fun() -> receive stop -> ok end end),
    {ok, Tasks} = py_dispatcher:send(1, body(until, [file(Config)]), #{}, Owner, py_dispatcher:new()),
    py_eventually:holds(fun() -> lists:sum(in_flight()) =:= 1 end),
    exit(Owner, kill),
    ?assertEqual([{1, {error, {py, cancelled}}}], answers(Tasks)),
    py_eventually:equals([0, 0], fun in_flight/0).

%% A count that is not undone leaves workers with a smaller hand, or with none. What the dispatcher gives at once tells.
a_pool_is_as_fast_as_before_after_all_that_can_happen(Config) ->
    File = file(Config),
    ok = py:resize(default, 3),
    Clients = [
        py_caller:start(fun() ->
            Tasks = lists:foldl(
                fun(N, Acc) -> send(N, noted, [<<File/binary, ".noted">>, N, 0.02], timeout(N), Acc) end, py_dispatcher:new(), lists:seq(1, 30)
            ),
            receive after rand:uniform(200) -> ok end,
            case Client rem 3 of
                0 -> flushed(Tasks);
                1 -> exit(left);
                2 -> length(answers(Tasks))
            end
        end)
     || Client <- lists:seq(1, 12)
    ],
    Kill = fun(OsPid) -> os:cmd("kill -9 " ++ integer_to_list(OsPid)) end,
    [begin receive after 40 -> ok end, [Kill(OsPid) || #{os_pid := OsPid} <- [hd(py:workers())], is_integer(OsPid)] end || _ <- lists:seq(1, 5)],
    ok = py:resize(default, 1),
    ok = py:resize(default, 2),
    Ends = py_caller:results(Clients),
    ?assertEqual([], [End || End <- Ends, End =/= {ok, ok}, End =/= {ok, 30}, End =/= {died, left}]),
    py_eventually:equals([0, 0], fun in_flight/0),
    {ok, Dispatcher} = py_registry:dispatcher(default),
    py_eventually:holds(fun() -> nothing_left(sys:get_state(Dispatcher)) end),
    %% Each worker has its whole hand.
    Long = lists:foldl(fun(N, Acc) -> send(N, until, [File], Acc) end, py_dispatcher:new(), lists:seq(1, 12)),
    py_eventually:holds(fun() -> lists:min(in_flight()) >= 2 end),
    let_end(Config),
    ?assertEqual(12, length([ok || {_, {ok, _}} <- answers(Long)])).

%% Of the tasks, the aliases and the clients; and no hand has any.
nothing_left(State) ->
    Core = element(4, State),
    map_size(element(5, State)) =:= 0 andalso map_size(element(6, State)) =:= 0 andalso py_dispatch:clients(Core) =:= [] andalso
        lists:all(fun(Slot) -> py_dispatch:hand(Slot, Core) =:= 0 end, [1, 2, 3]).

timeout(N) when N rem 5 =:= 0 -> #{timeout => 50};
timeout(_) -> #{}.

none_begins_twice_whatever_dies(Config) ->
    File = file(Config),
    Count = 1_000,
    Killer = py_caller:start(fun Kill() ->
        receive after 20 + rand:uniform(60) -> ok end,
        [os:cmd("kill -9 " ++ integer_to_list(OsPid)) || #{os_pid := OsPid} <- [lists:nth(rand:uniform(2), py:workers())], is_integer(OsPid)],
        Kill()
    end),
    Route = fun(N) -> case N rem 20 of 0 -> #{timeout => 60}; _ -> #{} end end,
    Seconds = fun(N) -> case N rem 25 of 0 -> 0.03; _ -> 0.0 end end,
    Tasks = lists:foldl(fun(N, Acc) -> send(N, noted, [File, N, Seconds(N)], Route(N), Acc) end, py_dispatcher:new(), lists:seq(1, Count)),
    Answers = answers(Tasks),
    py_caller:kill(Killer),
    ?assertEqual(lists:seq(1, Count), lists:sort([N || {N, _} <- Answers])),
    {ok, Noted} = file:read_file(File),
    Begun = [binary_to_integer(Line) || Line <- binary:split(Noted, <<"\n">>, [global]), Line =/= <<>>],
    ?assertEqual([], Begun -- lists:usort(Begun)),
    ?assertEqual([], [N || {N, {ok, N}} <- Answers, not lists:member(N, Begun)]),
    ?assertEqual([], [Other || {N, Other} <- Answers, not is_end(N, Other)]).

is_end(N, {ok, N}) -> true;
is_end(_, {error, {py, {worker_down, _}}}) -> true;
is_end(N, {error, {py, timeout}}) -> N rem 20 =:= 0;
is_end(_, _) -> false.
