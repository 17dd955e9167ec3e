%%% Encoded calls: bytes that somebody else has made go to a worker, and the answer's bytes come back. In both forms, by a process that
%%% waits (`py_route:send/3') and by one that is sent the answer (`py_pending').
-module(py_route_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-export([suite/0, all/0, groups/0, init_per_group/2, end_per_group/2, init_per_testcase/2, end_per_testcase/2]).
-export([
    bytes_go_to_another_pool_and_back_undecoded/1,
    what_was_not_begun_moves_with_the_same_bytes/1,
    what_was_begun_is_lost_with_an_error/1,
    a_worker_process_that_is_killed_is_told/1,
    a_timeout_frees_the_worker/1,
    without_a_timeout_that_of_the_pool_holds/1,
    what_no_pool_or_worker_is_is_told/1,
    references_are_where_the_caller_says/1,
    memory_that_a_worker_can_not_map_is_told/1,
    a_box_is_answered_for_with_its_budget/1,
    a_call_ends_with_its_owner/1,
    a_call_ends_with_who_asked/1,
    a_full_queue_is_told_at_once/1,
    another_node_answers_in_bytes/1,
    the_cluster_is_asked_in_bytes/1,
    a_lost_node_is_told/1,
    a_deadline_holds_on_another_node/1,
    a_call_on_another_node_ends_with_its_owner_and_with_who_asked/1
]).
-export([
    each_answer_has_its_key/1,
    a_cancelled_call_is_answered_by_nobody/1,
    each_is_answered_once_whatever_dies/1,
    answers_that_come_too_late_are_unknown/1,
    an_open_call_is_no_process/1
]).

-define(ANSWERED_MS, 20_000).

suite() -> [{timetrap, {minutes, 5}}].

all() -> [{group, waiting}, {group, sent}, {group, open}].

groups() ->
    Both = [
        bytes_go_to_another_pool_and_back_undecoded,
        what_was_not_begun_moves_with_the_same_bytes,
        what_was_begun_is_lost_with_an_error,
        a_worker_process_that_is_killed_is_told,
        a_timeout_frees_the_worker,
        without_a_timeout_that_of_the_pool_holds,
        what_no_pool_or_worker_is_is_told,
        references_are_where_the_caller_says,
        memory_that_a_worker_can_not_map_is_told,
        a_box_is_answered_for_with_its_budget,
        a_call_ends_with_its_owner,
        a_call_ends_with_who_asked,
        a_full_queue_is_told_at_once,
        another_node_answers_in_bytes,
        the_cluster_is_asked_in_bytes,
        a_lost_node_is_told,
        a_deadline_holds_on_another_node,
        a_call_on_another_node_ends_with_its_owner_and_with_who_asked
    ],
    [
        {waiting, Both},
        {sent, Both},
        {open, [
            each_answer_has_its_key,
            a_cancelled_call_is_answered_by_nobody,
            each_is_answered_once_whatever_dies,
            answers_that_come_too_late_are_unknown,
            an_open_call_is_no_process
        ]}
    ].

init_per_group(waiting, Config) -> [{send, fun py_route:send/3} | Config];
init_per_group(sent, Config) -> [{send, fun answered/3} | Config];
init_per_group(open, Config) -> Config.

end_per_group(_, _Config) -> ok.

init_per_testcase(Case, Config) ->
    Options = #{python_path => [?config(data_dir, Config)]},
    Directory = filename:join([?config(priv_dir, Config), proplists:get_value(name, ?config(tc_group_properties, Config)), Case]),
    ok = filelib:ensure_dir(filename:join(Directory, "any")),
    More = [{file, unicode:characters_to_binary(filename:join(Directory, "notes"))}, {options, Options} | Config],
    case is_about_nodes(Case) of
        false ->
            ok = py_application:start([{default, Options#{size => 1}}]),
            More;
        true ->
            Distribution = py_distribution:start(),
            ok = py_application:start([{default, Options#{size => 1}}]),
            {Peer, Node} = py_distribution:start_peer(),
            {ok, started} = py_distribution:start_py(Node, [{default, Options#{size => 1}}, {there, Options#{size => 1}}]),
            pong = net_adm:ping(Node),
            [{distribution, Distribution}, {peer, Peer}, {node, Node} | More]
    end.

end_per_testcase(Case, Config) ->
    case is_about_nodes(Case) of
        false ->
            py_application:stop();
        true ->
            _ = catch peer:stop(?config(peer, Config)),
            Stopped = py_application:stop(),
            ok = py_distribution:stop(?config(distribution, Config)),
            Stopped
    end.

is_about_nodes(Case) ->
    lists:member(Case, [
        another_node_answers_in_bytes,
        the_cluster_is_asked_in_bytes,
        a_lost_node_is_told,
        a_deadline_holds_on_another_node,
        a_call_on_another_node_ends_with_its_owner_and_with_who_asked
    ]).

%%% The two forms

send(Body, Route, Config) -> send(Body, Route, self(), Config).

send(Body, Route, Owner, Config) -> (?config(send, Config))(Body, Route, Owner).

answered(Body, Route, Owner) ->
    case py_pending:send(key, Body, Route, Owner, py_pending:new()) of
        {ok, Pending} ->
            {Answer, Left} = next(Pending),
            ?assertEqual(0, py_pending:size(Left)),
            case Answer of
                {key, {frame, Frame, Trust, _}} -> {frame, Frame, Trust};
                {key, {error, _} = Error} -> Error
            end;
        {error, _} = Error ->
            Error
    end.

next(Pending) ->
    receive
        Message ->
            case py_pending:message(Message, Pending) of
                {answer, Key, Answer, Left} -> {{Key, Answer}, Left};
                {wait, Left} -> next(Left);
                unknown -> error({unknown, Message})
            end
    after ?ANSWERED_MS -> error(no_answer)
    end.

body(Module, Function, Args) -> py_send:body({wrapper, call}, [Module, Function, Args, []], 0, #{strings => binary}).

held(Module, Function, Args) ->
    py_send:body({wrapper, call}, [Module, Function, Args, []], 0, #{return => ref}).

value({frame, Frame, trusted}) -> py_send:read(Frame, trusted, self()).

in_flight(Pool) -> lists:sum([Open || #{in_flight := Open} <- py:workers(Pool)]).

lines(Config) ->
    case file:read_file(?config(file, Config)) of
        {ok, Text} -> binary:split(Text, <<"\n">>, [global, trim]);
        {error, enoent} -> []
    end.

start_pool(Name, Options, Config) ->
    {ok, _} = py:start_pool(Name, maps:merge((?config(options, Config))#{size => 1}, Options)),
    [Worker || #{worker := Worker} <- py:workers(Name)].

%%% Bytes

bytes_go_to_another_pool_and_back_undecoded(Config) ->
    _ = start_pool(other, #{}, Config),
    %% No module here spells this atom, and the test asks for it letter by letter.
    Name = <<"an_atom_of_", (atom_to_binary(proplists:get_value(name, ?config(tc_group_properties, Config))))/binary, "_only">>,
    {frame, Frame, trusted} = send(body(py_routes, atom, [Name]), #{pool => other}, Config),
    Value = value_of(Frame),
    {ok, Spelt} = value(send(spliced(body(py_routes, spelt, ['$here']), Value), #{pool => default}, Config)),
    ?assertEqual({<<"Atom">>, Name}, Spelt),
    ?assertError(badarg, binary_to_existing_atom(Name)),
    %% A result that is large comes and goes so, too.
    Large = binary:copy(<<"0123456789abcdef">>, 100_000),
    {frame, There, trusted} = send(body(builtins, str, [Large]), #{pool => other}, Config),
    ?assertEqual({ok, 1_600_000}, value(send(spliced(body(builtins, len, ['$here']), value_of(There)), #{}, Config))),
    ?assertMatch({error, {python, 'builtins.ValueError', _, _}}, value(send(body(math, sqrt, [-1]), #{}, Config))).

%% What stands behind the kind and the number of an answer.
value_of(<<131, 104, 3, 119, 1, $r, 97, _, Value/binary>>) -> Value;
value_of(<<131, 104, 3, 119, 1, $r, 98, _:32, Value/binary>>) -> Value;
value_of(<<131, 104, 3, 100, 1:16, $r, 97, _, Value/binary>>) -> Value;
value_of(<<131, 104, 3, 100, 1:16, $r, 98, _:32, Value/binary>>) -> Value.

spliced(Body, Value) -> [binary:replace(iolist_to_binary(Body), <<100, 5:16, "$here">>, Value)].

%%% Deaths

what_was_not_begun_moves_with_the_same_bytes(Config) ->
    Go = <<(?config(file, Config))/binary, "-go">>,
    Test = self(),
    ok = py_events:attach(?MODULE, fun
        ([py, call, retry], _, _) -> Test ! retried;
        (_, _, _) -> ok
    end),
    Doomed = py_caller:start(fun() -> py:func(py_routes, end_when, [Go]) end),
    py_eventually:equals(1, fun() -> in_flight(default) end),
    Moving = py_caller:start(fun() -> value(send(body(py_routes, note, [?config(file, Config)]), #{}, Config)) end),
    py_eventually:equals(2, fun() -> in_flight(default) end),
    ok = file:write_file(Go, <<>>),
    ?assertMatch({error, {py, {worker_down, {exit_status, 3, _}}}}, py_caller:result(Doomed)),
    {ok, {ok, OsPid}} = py_caller:result(Moving),
    ok = py_events:detach(?MODULE),
    receive retried -> ok after 0 -> ct:fail(not_moved) end,
    ?assertMatch([#{os_pid := OsPid}], py:workers()),
    ?assertEqual([<<"x">>], lines(Config)).

what_was_begun_is_lost_with_an_error(Config) ->
    Caller = py_caller:start(fun() -> send(body(py_routes, note_and_sleep, [?config(file, Config), 60]), #{}, Config) end),
    py_eventually:holds(fun() -> lines(Config) =/= [] end),
    [#{os_pid := OsPid}] = py:workers(),
    py_os_process:kill(OsPid),
    ?assertMatch({ok, {error, {py, {worker_down, {signal, 9, _}}}}}, py_caller:result(Caller)),
    ?assertEqual({ok, 3}, value(send(body(operator, add, [1, 2]), #{}, Config))),
    ?assertEqual([<<"x">>], lines(Config)).

a_worker_process_that_is_killed_is_told(Config) ->
    [#{worker := Worker}] = py:workers(),
    Caller = py_caller:start(fun() -> send(body(time, sleep, [60]), #{}, Config) end),
    py_eventually:equals(1, fun() -> in_flight(default) end),
    exit(Worker, kill),
    ?assertEqual({ok, {error, {py, {worker_down, killed}}}}, py_caller:result(Caller)),
    %% Also in the moment when there is none, or one that is gone.
    ?assertEqual({ok, 3}, value(send(body(operator, add, [1, 2]), #{}, Config))),
    ?assertEqual({error, {py, {unknown_worker, Worker}}}, send(body(operator, add, [1, 2]), #{worker => Worker}, Config)).

%%% Deadlines

a_timeout_frees_the_worker(Config) ->
    ?assertEqual({error, {py, timeout}}, send(body(time, sleep, [60]), #{timeout => 100}, Config)),
    ?assertEqual({error, {py, timeout}}, send(body(operator, add, [1, 2]), #{timeout => 0}, Config)),
    py_eventually:equals(0, fun() -> in_flight(default) end),
    ?assertEqual({ok, 3}, value(send(body(operator, add, [1, 2]), #{timeout => ?ANSWERED_MS}, Config))),
    ?assertEqual([], py_application:messages()).

without_a_timeout_that_of_the_pool_holds(Config) ->
    _ = start_pool(hasty, #{call_timeout => 100}, Config),
    ?assertEqual({error, {py, timeout}}, send(body(time, sleep, [60]), #{pool => hasty}, Config)),
    ?assertEqual({ok, undefined}, value(send(body(time, sleep, [0.3]), #{pool => hasty, timeout => infinity}, Config))).

%%% Places

what_no_pool_or_worker_is_is_told(Config) ->
    Body = body(operator, add, [1, 2]),
    ?assertEqual({error, {py, {unknown_pool, none}}}, send(Body, #{pool => none}, Config)),
    ?assertEqual({error, {py, {unknown_worker, self()}}}, send(Body, #{worker => self()}, Config)),
    {ok, stopped} = py:stop(),
    ?assertEqual({error, {py, not_started}}, send(Body, #{}, Config)),
    ?assertEqual({error, {py, not_started}}, send(Body, #{refs => [self()]}, Config)).

references_are_where_the_caller_says(Config) ->
    [There] = start_pool(other, #{}, Config),
    {ok, Thing} = value(send(held(builtins, object, []), #{pool => other}, Config)),
    ?assertMatch({'$py.ref', There, _, _}, Thing),
    Body = body(builtins, isinstance, [Thing, {bytes, <<>>}]),
    ?assertMatch({error, {python, 'builtins.TypeError', _, _}}, value(send(Body, #{pool => other, refs => [There]}, Config))),
    Same = body(operator, is_, [Thing, Thing]),
    ?assertEqual({ok, true}, value(send(Same, #{pool => other, refs => [There, There]}, Config))),
    ?assertEqual({ok, true}, value(send(Same, #{worker => There, refs => [There]}, Config))),
    %% The pool is named, so its mapping is the one that was meant.
    ?assertEqual({ok, true}, value(send(Same, #{pool => default, refs => [There]}, Config))),
    ?assertEqual({error, {py, {other_pool, other}}}, send(Same, #{refs => [There]}, Config)),
    [#{worker := Here}] = py:workers(default),
    ?assertMatch({error, {py, {stale_reference, _}}}, send(Same, #{refs => [Here, There]}, Config)),
    ?assertMatch({error, {py, {stale_reference, _}}}, send(Same, #{worker => Here, refs => [There]}, Config)),
    %% Somebody who names no workers is told by the worker that gets it.
    ?assertMatch({error, {py, {stale_reference, _}}}, value(send(Same, #{pool => default}, Config))),
    ok = py:stop_pool(other),
    ?assertMatch({error, {py, {stale_reference, _}}}, send(Same, #{refs => [There]}, Config)).

memory_that_a_worker_can_not_map_is_told(Config) ->
    Foreign = {'$py.shm', {'nobody@nowhere', <<"0123456789abcdef-1-1">>, {0, 1}, bytes}},
    ?assertMatch({error, {py, {elsewhere, _}}}, send(body(builtins, len, [Foreign]), #{}, Config)),
    %% An exception that user code names so is one of its own.
    ?assertMatch({error, {python, 'builtins.KeyError', _, _}}, value(send(body(operator, getitem, [#{}, 1]), #{}, Config))).

a_box_is_answered_for_with_its_budget(Config) ->
    case os:find_executable("bwrap") of
        false ->
            {skip, "no bwrap on PATH (apt-get install bubblewrap)"};
        _ ->
            [Worker] = start_pool(box, #{sandbox => bwrap}, Config),
            {frame, Frame, {box, Budget}} = send(body(operator, add, [1, 2]), #{pool => box}, Config),
            ?assertEqual({ok, 3}, py_send:read(Frame, {box, Budget}, Worker)),
            {frame, Many, Trust} = send(body(py_routes, atom, [<<"an_atom_of_the_box">>]), #{pool => box}, Config),
            ?assertMatch({ok, _}, py_send:read(Many, Trust, Worker)),
            Shm = py:share(<<"shared">>),
            ?assertMatch({error, {py, {no_shared_memory, _}}}, send(body(builtins, len, [Shm]), #{pool => box}, Config)),
            ok = py:release(Shm)
    end.

a_full_queue_is_told_at_once(Config) ->
    _ = start_pool(narrow, #{max_queue => 0}, Config),
    Busy = py_caller:start(fun() -> py:func(time, sleep, [60], #{pool => narrow}) end),
    py_eventually:equals(1, fun() -> in_flight(narrow) end),
    ?assertEqual({error, {py, overload}}, send(body(operator, add, [1, 2]), #{pool => narrow}, Config)),
    py_caller:kill(Busy).

%%% Who may die

a_call_ends_with_its_owner(Config) ->
    {Owner, Monitor} = spawn_monitor(fun() -> receive stop -> ok end end),
    Caller = py_caller:start(fun() -> send(body(time, sleep, [60]), #{}, Owner, Config) end),
    py_eventually:equals(1, fun() -> in_flight(default) end),
    Owner ! stop,
    receive {'DOWN', Monitor, process, _, normal} -> ok end,
    ?assertEqual({ok, {error, {py, cancelled}}}, py_caller:result(Caller)),
    py_eventually:equals(0, fun() -> in_flight(default) end),
    %% One that is gone already.
    ?assertEqual({error, {py, cancelled}}, send(body(time, sleep, [60]), #{}, Owner, Config)),
    %% What is made for somebody is his.
    {Heir, _} = spawn_monitor(fun() -> receive stop -> ok end end),
    {ok, _} = value(send(held(builtins, object, []), #{}, Heir, Config)),
    ?assertMatch([#{references := 1}], py:workers()),
    Heir ! stop,
    py_eventually:holds(fun() -> [0] =:= [Count || #{references := Count} <- py:workers()] end),
    receive {'DOWN', _, process, Heir, _} -> ok end.

a_call_ends_with_who_asked(Config) ->
    Owner = self(),
    Caller = py_caller:start(fun() -> send(body(time, sleep, [60]), #{}, Owner, Config) end),
    py_eventually:equals(1, fun() -> in_flight(default) end),
    py_caller:kill(Caller),
    py_eventually:equals(0, fun() -> in_flight(default) end).

%%% Other nodes

another_node_answers_in_bytes(Config) ->
    Node = ?config(node, Config),
    There = integer_to_binary(list_to_integer(erpc:call(Node, os, getpid, []))),
    Name = <<"an_atom_of_another_node">>,
    {frame, Frame, trusted} = send(body(py_routes, atom, [Name]), #{node => Node}, Config),
    {ok, Spelt} = value(send(spliced(body(py_routes, spelt, ['$here']), value_of(Frame)), #{}, Config)),
    ?assertEqual({<<"Atom">>, Name}, Spelt),
    {ok, Parent} = value(send(body(os, getppid, []), #{node => Node}, Config)),
    ?assert(is_child_of(Parent, binary_to_integer(There))),
    [{_, Worker}] = erpc:call(Node, py_registry, workers, [there]),
    ?assertEqual({ok, 3}, value(send(body(operator, add, [1, 2]), #{worker => Worker}, Config))),
    %% Its references, too, and the pool that they are in.
    {ok, Thing} = value(send(held(builtins, object, []), #{worker => Worker}, Config)),
    Same = body(operator, is_, [Thing, Thing]),
    ?assertEqual({ok, true}, value(send(Same, #{pool => there, refs => [Worker]}, Config))),
    ?assertEqual({error, {py, {other_pool, there}}}, send(Same, #{refs => [Worker]}, Config)),
    ?assertEqual({error, {py, {unknown_pool, none}}}, send(Same, #{pool => none, node => Node}, Config)).

%% A port's program may be started by a helper of the BEAM's.
is_child_of(OsPid, OsPid) -> true;
is_child_of(OsPid, Ancestor) when OsPid > 1 ->
    {ok, Stat} = file:read_file("/proc/" ++ integer_to_list(OsPid) ++ "/stat"),
    [_, Rest] = string:split(Stat, ")", trailing),
    [_State, Parent | _] = string:lexemes(Rest, " "),
    is_child_of(binary_to_integer(Parent), Ancestor);
is_child_of(_, _) -> false.

the_cluster_is_asked_in_bytes(Config) ->
    Node = ?config(node, Config),
    py_eventually:equals([Node], fun() -> py_nodes:members(there) end),
    ?assertEqual({ok, 3}, value(send(body(operator, add, [1, 2]), #{pool => there, scope => cluster}, Config))),
    %% What is full here goes there.
    Busy = py_caller:start(fun() -> py:func(time, sleep, [60]) end),
    py_eventually:equals(1, fun() -> in_flight(default) end),
    ?assertEqual({ok, 3}, value(send(body(operator, add, [1, 2]), #{scope => cluster, timeout => ?ANSWERED_MS}, Config))),
    ?assertEqual({error, {py, {unknown_pool, none}}}, send(body(operator, add, [1, 2]), #{pool => none, scope => cluster}, Config)),
    py_caller:kill(Busy).

a_lost_node_is_told(Config) ->
    Node = ?config(node, Config),
    Caller = py_caller:start(fun() -> send(body(time, sleep, [60]), #{node => Node}, Config) end),
    py_eventually:equals(1, fun() -> in_flight_on(Node) end),
    ok = py_distribution:kill(Node),
    ?assertEqual({ok, {error, {py, {node_down, Node}}}}, py_caller:result(Caller)),
    ?assertEqual({error, {py, {node_down, Node}}}, send(body(operator, add, [1, 2]), #{node => Node}, Config)).

a_deadline_holds_on_another_node(Config) ->
    Node = ?config(node, Config),
    ?assertEqual({error, {py, timeout}}, send(body(time, sleep, [60]), #{node => Node, timeout => 200}, Config)),
    py_eventually:equals(0, fun() -> in_flight_on(Node) end),
    ?assertEqual({error, {py, timeout}},
        py_distribution:while_frozen(Node, fun() -> send(body(time, sleep, [60]), #{node => Node, timeout => 300}, Config) end)),
    py_eventually:equals(0, fun() -> in_flight_on(Node) end).

in_flight_on(Node) -> lists:sum([Open || #{in_flight := Open} <- erpc:call(Node, py, workers, [])]).

a_call_on_another_node_ends_with_its_owner_and_with_who_asked(Config) ->
    Node = ?config(node, Config),
    {Owner, Monitor} = spawn_monitor(fun() -> receive stop -> ok end end),
    Owned = py_caller:start(fun() -> send(body(time, sleep, [60]), #{node => Node}, Owner, Config) end),
    py_eventually:equals(1, fun() -> in_flight_on(Node) end),
    Owner ! stop,
    receive {'DOWN', Monitor, process, _, normal} -> ok end,
    ?assertEqual({ok, {error, {py, cancelled}}}, py_caller:result(Owned)),
    py_eventually:equals(0, fun() -> in_flight_on(Node) end),
    Test = self(),
    Caller = py_caller:start(fun() -> send(body(time, sleep, [60]), #{node => Node}, Test, Config) end),
    py_eventually:equals(1, fun() -> in_flight_on(Node) end),
    py_caller:kill(Caller),
    py_eventually:equals(0, fun() -> in_flight_on(Node) end).

%%% Many open calls

sent(Keyed, Route, Pending) ->
    lists:foldl(
        fun({Key, Body}, Acc) ->
            {ok, More} = py_pending:send(Key, Body, Route, self(), Acc),
            More
        end,
        Pending,
        Keyed
    ).

all_of(Pending, Answers) ->
    case py_pending:size(Pending) of
        0 ->
            Answers;
        _ ->
            {Answer, Left} = next(Pending),
            all_of(Left, [Answer | Answers])
    end.

each_answer_has_its_key(_Config) ->
    Keyed = [{N, body(operator, neg, [N])} || N <- lists:seq(1, 1_000)],
    Answers = all_of(sent(Keyed, #{}, py_pending:new()), []),
    ?assertEqual(
        [{N, {ok, -N}} || N <- lists:seq(1, 1_000)],
        lists:sort([{Key, py_send:read(Frame, Trust, Worker)} || {Key, {frame, Frame, Trust, {Worker, _}}} <- Answers])
    ),
    ?assertEqual([], py_application:messages()).

a_cancelled_call_is_answered_by_nobody(Config) ->
    Pending = sent(
        [{1, body(time, sleep, [60])}, {2, body(py_routes, note, [?config(file, Config)])}], #{}, py_pending:new()
    ),
    py_eventually:equals(2, fun() -> in_flight(default) end),
    None = py_pending:cancel(1, py_pending:cancel(2, py_pending:cancel(2, Pending))),
    ?assertEqual(0, py_pending:size(None)),
    py_eventually:equals(0, fun() -> in_flight(default) end),
    ?assertEqual([], lines(Config)),
    ?assertEqual([], py_application:messages()).

%% Answered with its result: it ran once. With the death of its worker: at most once.
each_is_answered_once_whatever_dies(Config) ->
    _ = start_pool(frail, #{size => 3, restart => #{max => 1_000, within => 1_000, delay => 1, max_delay => 5}}, Config),
    File = ?config(file, Config),
    Numbers = lists:seq(1, 2_000),
    Test = self(),
    Killer = spawn_link(fun() -> kills(Test, 0) end),
    Pending = sent([{N, body(py_routes, note, [File, N])} || N <- Numbers], #{pool => frail}, py_pending:new()),
    Answers = all_of(Pending, []),
    Killer ! stop,
    Kills = receive {kills, Number} -> Number end,
    ct:pal("~w kills, ~w lost", [Kills, length([N || {N, {error, _}} <- Answers])]),
    ?assertEqual(Numbers, lists:sort([Key || {Key, _} <- Answers])),
    Runs = lists:foldl(fun(Line, Acc) -> maps:update_with(binary_to_integer(Line), fun(N) -> N + 1 end, 1, Acc) end, #{}, lines(Config)),
    Times = fun(N) -> maps:get(N, Runs, 0) end,
    ?assertEqual([], [{N, Times(N)} || {N, {frame, _, _, _}} <- Answers, Times(N) =/= 1]),
    ?assertEqual([], [{N, Times(N)} || {N, {error, {py, {worker_down, _}}}} <- Answers, Times(N) > 1]),
    ?assertEqual([], [Error || {_, {error, Error}} <- Answers, element(1, element(2, Error)) =/= worker_down]),
    ?assertEqual([], py_application:messages()).

kills(Test, Kills) ->
    receive
        stop -> Test ! {kills, Kills}
    %% The time between two deaths is the subject.
    after 30 ->
        case py_registry:workers(frail) of
            %% Now and then the process goes, too.
            [{_, Worker} | _] when Kills rem 5 =:= 4 -> exit(Worker, kill);
            Workers ->
                _ = [
                    py_os_process:kill(OsPid)
                 || {Slot, Worker} <- Workers, Slot =:= 1 + Kills rem 3, {ok, #{os_pid := OsPid, state := serving}} <- [py_worker:info(Worker)]
                ]
        end,
        kills(Test, Kills + 1)
    end.

answers_that_come_too_late_are_unknown(_Config) ->
    {ok, Pending} = py_pending:send(1, body(operator, add, [1, 2]), #{}, self(), py_pending:new()),
    %% It lies in the mailbox when the call is given up.
    py_eventually:holds(fun() -> element(2, process_info(self(), message_queue_len)) =:= 1 end),
    None = py_pending:cancel(1, Pending),
    receive Late -> ?assertEqual(unknown, py_pending:message(Late, None)) end,
    ?assertEqual(unknown, py_pending:message({make_ref(), {error, moved}}, None)),
    ?assertEqual(unknown, py_pending:message({'DOWN', make_ref(), process, self(), normal}, None)),
    ?assertEqual({wait, None}, py_pending:message({timeout, make_ref(), {py_pending, late, 1}}, None)).

an_open_call_is_no_process(_Config) ->
    Before = erlang:system_info(process_count),
    Pending = sent([{N, body(time, sleep, [60])} || N <- lists:seq(1, 100)], #{timeout => ?ANSWERED_MS}, py_pending:new()),
    py_eventually:equals(100, fun() -> in_flight(default) end),
    ?assert(erlang:system_info(process_count) - Before < 10),
    None = lists:foldl(fun py_pending:cancel/2, Pending, lists:seq(1, 100)),
    ?assertEqual(0, py_pending:size(None)),
    py_eventually:equals(0, fun() -> in_flight(default) end).
