%%% The process that reads an interpreter's port: what it bounds, and each order in which those around it die.
-module(py_reader_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-export([suite/0, all/0, groups/0, init_per_group/2, end_per_group/2, init_per_testcase/2, end_per_testcase/2]).
-export([
    a_box_that_floods_is_killed_at_the_bound/1,
    a_box_that_floods_small_frames_is_killed_at_the_bound/1,
    a_deadline_holds_while_a_box_floods/1,
    a_pool_whose_box_floods_is_stopped_at_once/1,
    a_box_gives_a_large_answer/1,
    a_box_gives_many_large_answers/1
]).
-export([
    a_python_that_keeps_to_no_bound_is_killed/1,
    large_answers_of_many_calls_pass/1,
    a_reader_that_is_killed_takes_its_interpreter_along/1,
    a_reader_ends_with_its_worker/1,
    a_reader_ends_with_its_interpreter/1
]).
-export([
    a_death_is_noticed_while_a_child_keeps_the_pipes/1,
    a_death_is_noticed_while_a_child_of_another_session_keeps_the_pipes/1,
    an_idle_death_is_noticed_while_a_child_keeps_the_pipes/1,
    an_idle_death_is_noticed_while_a_child_of_another_session_keeps_the_pipes/1
]).

suite() -> [{timetrap, {minutes, 5}}].

all() -> [{group, boxed}, {group, trusted}, {group, pipes}].

groups() ->
    [
        {boxed, [
            a_box_that_floods_is_killed_at_the_bound,
            a_box_that_floods_small_frames_is_killed_at_the_bound,
            a_deadline_holds_while_a_box_floods,
            a_pool_whose_box_floods_is_stopped_at_once,
            a_box_gives_a_large_answer,
            a_box_gives_many_large_answers
        ]},
        {trusted, [
            a_python_that_keeps_to_no_bound_is_killed,
            large_answers_of_many_calls_pass,
            a_reader_that_is_killed_takes_its_interpreter_along,
            a_reader_ends_with_its_worker,
            a_reader_ends_with_its_interpreter
        ]},
        {pipes, [
            a_death_is_noticed_while_a_child_keeps_the_pipes,
            a_death_is_noticed_while_a_child_of_another_session_keeps_the_pipes,
            an_idle_death_is_noticed_while_a_child_keeps_the_pipes,
            an_idle_death_is_noticed_while_a_child_of_another_session_keeps_the_pipes
        ]}
    ].

init_per_group(boxed, Config) ->
    %% Also where bwrap is installed a system may forbid it to ordinary users.
    Args = ["--unshare-user-try", "--unshare-pid", "--ro-bind", "/", "/", "--", "/bin/sh", "-c", "exit 0"],
    case os:find_executable("bwrap") of
        false -> skip("no bwrap on PATH (apt-get install bubblewrap)");
        Program ->
            case py_program:run(Program, [{args, Args}], 10_000) of
                {0, _} -> Config;
                {_, Said} -> skip(["bwrap can make no namespaces here: ", Said])
            end
    end;
init_per_group(_, Config) ->
    Config.

end_per_group(_, _Config) -> ok.

skip(Reason) ->
    Text = unicode:characters_to_list(iolist_to_binary(Reason)),
    io:format(user, "~nskipped: ~ts~n", [Text]),
    {skip, Text}.

init_per_testcase(_, Config) ->
    ok = py_application:start([{default, #{size => 1, kill_after => 300, python_path => [?config(data_dir, Config)]}}]),
    Config.

end_per_testcase(_, _Config) -> py_application:stop().

%% A pool `boxed' of one sandboxed worker.
start(Config) ->
    Options = #{
        size => 1, sandbox => bwrap, kill_after => 300, start_timeout => 60_000, max_memory => 300_000_000,
        python_path => [?config(data_dir, Config)]
    },
    {ok, _} = py:start_pool(boxed, Options),
    ok.

call(Pool, Function, Args, Options) -> py:func(py_flooding, Function, Args, Options#{pool => Pool}).

serves(Pool) -> py_eventually:equals(3, fun() -> catch py:func(operator, add, [1, 2], #{pool => Pool}) end, 30_000).

outcome(Fun) ->
    try
        {ok, Fun()}
    catch
        error:Reason -> {error, Reason}
    end.

%%% Boxes

%% A frame that costs the worker more than the reader, and goes to nobody.
cast(Size) -> term_to_binary({'M', nobody_of_this_name, binary:copy(<<"x">>, Size)}).

flooded(Frame, Config) ->
    start(Config),
    {Outcome, Growth} = py_beam:growth(fun() -> outcome(fun() -> call(boxed, flood, [{bytes, Frame}], #{}) end) end),
    ?assertMatch({error, {py, {worker_down, {flooded, _}}}}, Outcome),
    %% The bound, what the reader had not looked at, and what the terms take in the worker.
    ?assert(Growth < 400_000_000, Growth),
    serves(boxed).

a_box_that_floods_is_killed_at_the_bound(Config) -> flooded(cast(1_000), Config).

a_box_that_floods_small_frames_is_killed_at_the_bound(Config) -> flooded(cast(1), Config).

a_deadline_holds_while_a_box_floods(Config) ->
    start(Config),
    Began = erlang:monotonic_time(millisecond),
    %% Whichever comes first.
    ?assertMatch(
        {error, {py, Reason}} when Reason =:= timeout; element(1, Reason) =:= worker_down,
        outcome(fun() -> call(boxed, flood, [{bytes, cast(100)}], #{timeout => 500}) end)
    ),
    serves(boxed),
    ?assert(erlang:monotonic_time(millisecond) - Began < 20_000).

a_pool_whose_box_floods_is_stopped_at_once(Config) ->
    start(Config),
    Caller = py_caller:start(fun() -> call(boxed, flood, [{bytes, cast(100)}], #{}) end),
    %% Half way to the bound.
    receive after 50 -> ok end,
    Began = erlang:monotonic_time(millisecond),
    ok = py:stop_pool(boxed),
    ?assert(erlang:monotonic_time(millisecond) - Began < 15_000),
    ?assertMatch({error, {py, {worker_down, _}}}, py_caller:result(Caller)).

a_box_gives_a_large_answer(Config) ->
    start(Config),
    ?assertEqual(100_000_000, byte_size(call(boxed, large, [100_000_000], #{}))).

a_box_gives_many_large_answers(Config) ->
    start(Config),
    Callers = [py_caller:start(fun() -> byte_size(call(boxed, large, [10_000_000], #{})) end) || _ <- lists:seq(1, 20)],
    ?assertEqual(lists:duplicate(20, {ok, 10_000_000}), py_caller:results(Callers)).

%%% Those that are trusted

%% One that has its worker stopped, as a machine that is busy may, fills 512 MiB and no more. (The test gives the worker less to
%% do than that takes.)
a_python_that_keeps_to_no_bound_is_killed(_Config) ->
    [#{worker := Worker}] = py:workers(),
    Caller = py_caller:start(fun() -> call(default, flood, [{bytes, cast(1_000_000)}], #{}) end),
    receive after 100 -> ok end,
    true = erlang:suspend_process(Worker),
    py_eventually:equals([], fun py_os_process:pythons/0, 30_000),
    true = erlang:resume_process(Worker),
    ?assertMatch({error, {py, {worker_down, {flooded, Bytes}}}} when Bytes >= 512 bsl 20, py_caller:result(Caller)),
    serves(default).

large_answers_of_many_calls_pass(_Config) ->
    Callers = [py_caller:start(fun() -> byte_size(call(default, large, [20_000_000], #{})) end) || _ <- lists:seq(1, 40)],
    ?assertEqual(lists:duplicate(40, {ok, 20_000_000}), py_caller:results(Callers)).

reader(Worker) ->
    {links, Links} = process_info(Worker, links),
    [Reader] = [
        Pid
     || Pid <- Links, is_pid(Pid), {dictionary, Dictionary} <- [process_info(Pid, dictionary)],
        {_, {py_reader, _, _}} <- [lists:keyfind('$initial_call', 1, Dictionary)]
    ],
    Reader.

a_reader_that_is_killed_takes_its_interpreter_along(_Config) ->
    [#{worker := Worker, os_pid := OsPid}] = py:workers(),
    Test = self(),
    Caller = py_caller:start(fun() -> call(default, 'begin', [Test, 30], #{}) end),
    %% One that was not begun would go to the next Python.
    receive 1 -> ok end,
    exit(reader(Worker), kill),
    ?assertEqual({error, {py, {worker_down, closed}}}, py_caller:result(Caller)),
    serves(default),
    ?assertMatch([#{worker := Worker}], py:workers()),
    py_eventually:equals(false, fun() -> py_os_process:alive(OsPid) end).

a_reader_ends_with_its_worker(_Config) ->
    [#{worker := Worker, os_pid := OsPid}] = py:workers(),
    Reader = reader(Worker),
    Monitor = monitor(process, Reader),
    exit(Worker, kill),
    receive {'DOWN', Monitor, process, Reader, _} -> ok end,
    serves(default),
    py_eventually:equals(false, fun() -> py_os_process:alive(OsPid) end).

a_reader_ends_with_its_interpreter(_Config) ->
    [#{worker := Worker, os_pid := OsPid}] = py:workers(),
    Reader = reader(Worker),
    Monitor = monitor(process, Reader),
    py_os_process:kill(OsPid),
    receive {'DOWN', Monitor, process, Reader, _} -> ok end,
    serves(default),
    ?assertNotEqual(Reader, reader(Worker)).

%%% Children that keep the pipes

-define(NOTICED_MS, 5_000).

busy(Session, Config) ->
    Note = filename:join(?config(priv_dir, Config), atom_to_list(Session)),
    Outcome = outcome(fun() -> call(default, die_with_child, [Session, list_to_binary(Note)], #{timeout => 20_000}) end),
    serves(default),
    {ok, Child} = file:read_file(Note),
    {Outcome, binary_to_integer(Child)}.

%% The true reason, and the child goes, too.
a_death_is_noticed_while_a_child_keeps_the_pipes(Config) ->
    {Outcome, Child} = busy(false, Config),
    ?assertMatch({error, {py, {worker_down, {signal, 9, _}}}}, Outcome),
    py_eventually:equals(false, fun() -> py_os_process:alive(Child) end).

%% What has left its group is nobody's to end.
a_death_is_noticed_while_a_child_of_another_session_keeps_the_pipes(Config) ->
    {Outcome, Child} = busy(true, Config),
    ?assertMatch({error, {py, {worker_down, closed}}}, Outcome),
    py_os_process:kill(Child).

an_idle_death_is_noticed_while_a_child_keeps_the_pipes(_Config) ->
    Child = idle(false),
    py_eventually:equals(false, fun() -> py_os_process:alive(Child) end).

an_idle_death_is_noticed_while_a_child_of_another_session_keeps_the_pipes(_Config) ->
    py_os_process:kill(idle(true)).

idle(Session) ->
    [#{os_pid := OsPid}] = py:workers(),
    Child = call(default, leave_child, [Session], #{}),
    py_eventually:holds(fun() -> not py_os_process:alive(OsPid) end),
    py_eventually:holds(
        fun() -> [#{os_pid := Now, state := State}] = py:workers(), State =:= serving andalso Now =/= OsPid end, ?NOTICED_MS
    ),
    Child.
