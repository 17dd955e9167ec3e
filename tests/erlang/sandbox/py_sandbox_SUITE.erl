%%% Interpreters in sandboxes: what they see, what they are bound to, what they can say, and that nothing of them stays.
%%%
%%% The code that runs in them is hostile, as if somebody had taken over the interpreter.
-module(py_sandbox_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("kernel/include/file.hrl").
-include_lib("stdlib/include/assert.hrl").

-export([suite/0, all/0, groups/0, init_per_group/2, end_per_group/2, init_per_testcase/2, end_per_testcase/2]).
-export([
    a_sandboxed_pool_does_what_a_pool_does/1,
    io_is_read_and_written_from_both_sides/1,
    a_link_out_of_io_leads_nowhere/1,
    files_of_the_host_are_not_there/1,
    nothing_but_io_and_memory_is_written/1,
    no_descriptor_leads_outside/1,
    there_is_no_network/1,
    the_environment_is_the_pools_own/1,
    there_are_no_rights_to_misuse/1,
    a_start_is_quick/1,
    the_least_that_a_pool_may_be_bound_to_is_enough/1,
    limits_are_not_raised_again/1,
    a_fork_bomb_is_contained/1,
    a_memory_bomb_is_contained/1,
    memory_bombs_of_several_processes_are_contained/1,
    cpu_seconds_are_bounded/1,
    a_call_past_its_deadline_is_interrupted_or_killed/1,
    a_killed_box_is_replaced_and_leaves_nothing/1,
    no_call_that_it_was_sent_runs_elsewhere/1,
    nothing_outlives_its_worker_process/1,
    nothing_outlives_its_pool/1,
    nothing_outlives_a_killed_beam/1,
    its_pickles_are_read_nowhere_else/1,
    it_has_no_key_of_the_nodes/1,
    it_calls_only_what_is_listed/1,
    its_messages_reach_no_process/1,
    its_answers_are_only_values/1,
    its_atoms_have_a_budget_of_their_own/1,
    frames_that_no_good_python_sends_end_it/1,
    errors_of_a_made_up_shape_are_told_as_such/1,
    what_it_prints_and_logs_is_bounded/1,
    what_it_writes_to_standard_error_has_to_wait/1,
    it_makes_no_further_namespaces/1,
    it_asks_little_of_the_kernel/1,
    it_can_lie_to_its_own_caller_only/1,
    without_bwrap_the_start_says_what_to_do/1,
    a_wrong_io_is_told/1,
    what_is_the_systems_is_not_given_away/1,
    a_link_that_another_user_made_is_not_followed/1,
    its_modules_go_to_no_other_node/1,
    docker_says_what_is_missing/1,
    docker_runs_the_same/1, docker_binds_the_same/1, docker_leaves_nothing/1
]).
%% Called from Python.
-export([twice/1]).

suite() -> [{timetrap, {minutes, 5}}].

all() -> [{group, bwrap}, {group, told}, {group, docker}].

groups() ->
    [
        {bwrap, [
            a_sandboxed_pool_does_what_a_pool_does,
            io_is_read_and_written_from_both_sides,
            a_link_out_of_io_leads_nowhere,
            files_of_the_host_are_not_there,
            nothing_but_io_and_memory_is_written,
            no_descriptor_leads_outside,
            there_is_no_network,
            the_environment_is_the_pools_own,
            there_are_no_rights_to_misuse,
            a_start_is_quick,
            the_least_that_a_pool_may_be_bound_to_is_enough,
            limits_are_not_raised_again,
            a_fork_bomb_is_contained,
            a_memory_bomb_is_contained,
            memory_bombs_of_several_processes_are_contained,
            cpu_seconds_are_bounded,
            a_call_past_its_deadline_is_interrupted_or_killed,
            a_killed_box_is_replaced_and_leaves_nothing,
            no_call_that_it_was_sent_runs_elsewhere,
            nothing_outlives_its_worker_process,
            nothing_outlives_its_pool,
            nothing_outlives_a_killed_beam,
            its_pickles_are_read_nowhere_else,
            it_has_no_key_of_the_nodes,
            it_calls_only_what_is_listed,
            its_messages_reach_no_process,
            its_answers_are_only_values,
            its_atoms_have_a_budget_of_their_own,
            frames_that_no_good_python_sends_end_it,
            errors_of_a_made_up_shape_are_told_as_such,
            what_it_prints_and_logs_is_bounded,
            what_it_writes_to_standard_error_has_to_wait,
            it_makes_no_further_namespaces,
            it_asks_little_of_the_kernel,
            its_modules_go_to_no_other_node,
            it_can_lie_to_its_own_caller_only
        ]},
        {told, [
            without_bwrap_the_start_says_what_to_do, a_wrong_io_is_told, what_is_the_systems_is_not_given_away,
            a_link_that_another_user_made_is_not_followed,
            docker_says_what_is_missing
        ]},
        {docker, [docker_runs_the_same, docker_binds_the_same, docker_leaves_nothing]}
    ].

%% Also where bwrap is installed a system may forbid it to ordinary users.
init_per_group(bwrap, Config) ->
    case os:find_executable("bwrap") of
        false ->
            skip("no bwrap on PATH (apt-get install bubblewrap)");
        Program ->
            Args = ["--unshare-user-try", "--unshare-pid", "--ro-bind", "/", "/", "--", "/bin/sh", "-c", "exit 0"],
            case py_program:run(Program, [{args, Args}], 10_000) of
                {0, _} -> Config;
                {_, Said} -> skip(["bwrap can make no namespaces here: ", Said])
            end
    end;
init_per_group(told, Config) ->
    Config;
init_per_group(docker, Config) ->
    case os:find_executable("docker") of
        false ->
            skip("no docker on PATH");
        Program ->
            Image = #{image := Name} = element(2, py_pool_options:check(#{sandbox => docker})),
            case py_program:run(Program, [{args, ["image", "inspect", "--format", "{{.Id}}", Name]}], 10_000) of
                {0, _} -> [{image, Image} | Config];
                {_, Said} -> skip(["no Docker daemon, or no image (make docker-image): ", Said])
            end
    end.

skip(Reason) ->
    Text = string:trim(lists:flatten(unicode:characters_to_list(iolist_to_binary(Reason)))),
    io:format(user, "~nskipped: ~ts~n", [Text]),
    {skip, Text}.

end_per_group(_, _Config) -> ok.

init_per_testcase(_, Config) ->
    ok = py_application:start([{default, #{size => 1, python_path => [?config(data_dir, Config)]}}]),
    Config.

end_per_testcase(_, _Config) -> py_application:stop().

%% A pool `boxed' of one sandboxed worker.
start(Config) -> start(Config, #{}).

start(Config, Options) ->
    Defaults = #{size => 1, sandbox => bwrap, python_path => [?config(data_dir, Config)], kill_after => 300},
    {ok, _} = py:start_pool(boxed, maps:merge(Defaults, Options)),
    ok.

call(Function) -> call(Function, []).

call(Function, Args) -> call(Function, Args, #{}).

call(Function, Args, Options) -> py:func(py_boxed, Function, Args, Options#{pool => boxed}).

worker() ->
    [#{worker := Worker}] = py:workers(boxed),
    Worker.

%% The interpreter ended, and the next one serves.
replaced(Run) ->
    [#{os_pid := Before}] = py:workers(boxed),
    Result =
        try
            {ok, Run()}
        catch
            error:Reason -> {error, Reason}
        end,
    py_eventually:holds(fun() ->
        [#{os_pid := Now, state := State}] = py:workers(boxed),
        State =:= serving andalso Now =/= Before
    end),
    ?assertEqual(3, py:func(operator, add, [1, 2], #{pool => boxed})),
    ?assertEqual(3, py:add(1, 2)),
    Result.

directory(Config) ->
    Directory = filename:join(?config(priv_dir, Config), "io-" ++ integer_to_list(erlang:unique_integer([positive]))),
    ok = filelib:ensure_path(Directory),
    Directory.

%%% The box

a_sandboxed_pool_does_what_a_pool_does(Config) ->
    start(Config, #{size => 2, import => [<<"xml.dom">>]}),
    ?assertEqual(true, py:func(operator, contains, [py:const('sys.modules', #{pool => boxed}), <<"xml.dom">>], #{pool => boxed})),
    ?assertEqual(3, py:func(operator, add, [1, 2], #{pool => boxed})),
    ?assertEqual({"date", {2026, 2, 3}}, py:func(datetime, date, [2026, 2, 3], #{pool => boxed})),
    ?assertError({python, 'builtins.ZeroDivisionError', _, _}, py:func(operator, truediv, [1, 0], #{pool => boxed})),
    Lock = call(lock),
    ?assertEqual(false, py:method(Lock, locked)),
    ok = py:release(Lock),
    ?assertEqual([1, 2, 3], py:pmap(builtins, abs, [-1, -2, -3], #{pool => boxed})),
    {undefined, Leader} = py_output:of_call(fun() -> py:func(builtins, print, [<<"hello">>], #{pool => boxed}) end),
    py_eventually:equals("hello\n", fun() -> py_output:text(Leader) end),
    py_output:stop(Leader),
    Large = binary:copy(<<"x">>, 20_000_000),
    ?assert(Large =:= call(identity, [{bytes, Large}])),
    [#{memory_bytes := Bytes, os_pid := OsPid} | _] = py:workers(boxed),
    ?assert(Bytes > 4_000_000),
    ?assert(py_os_process:alive(OsPid)).

io_is_read_and_written_from_both_sides(Config) ->
    Io = directory(Config),
    ok = file:write_file(filename:join(Io, "in.txt"), "from Erlang"),
    start(Config, #{io => Io, size => 2}),
    ?assertEqual("from Erlang", call(read, [<<"/io/in.txt">>])),
    undefined = call(write, [<<"/io/example.txt">>, <<"from the box">>]),
    ?assertEqual({ok, <<"from the box">>}, file:read_file(filename:join(Io, "example.txt"))),
    [?assertEqual("from the box", py:func(py_boxed, read, [<<"/io/example.txt">>], #{worker => W}))
     || #{worker := W} <- py:workers(boxed)],
    %% As root's it could be run with root's rights.
    {ok, #file_info{uid = Owner}} = file:read_file_info(filename:join(Io, "example.txt")),
    ?assertNotEqual(0, Owner).

a_link_out_of_io_leads_nowhere(Config) ->
    Io = directory(Config),
    Secret = filename:join(?config(priv_dir, Config), "secret.txt"),
    ok = file:write_file(Secret, "secret"),
    ok = file:make_symlink(Secret, filename:join(Io, "there")),
    start(Config, #{io => Io}),
    ?assertEqual("FileNotFoundError", call(try_read, [<<"/io/there">>])),
    ?assertEqual("FileNotFoundError", call(link_out, [<<"/io/here">>, unicode:characters_to_binary(Secret)])),
    ?assertEqual("FileNotFoundError", call(link_out, [<<"/io/up">>, <<"../../../etc/passwd">>])),
    ?assertEqual("FileNotFoundError", call(try_read, [<<"/io/../etc/passwd">>])).

files_of_the_host_are_not_there(Config) ->
    start(Config),
    Readme = filename:join([?config(data_dir, Config), "..", "..", "..", "README.md"]),
    Home = os:getenv("HOME", "/root"),
    Secret = filename:join(?config(priv_dir, Config), "secret.txt"),
    ok = file:write_file(Secret, "secret"),
    [
        ?assertEqual({Path, false}, {Path, call(exists, [unicode:characters_to_binary(Path)])})
     || Path <- [
            "/etc/shadow", "/etc/passwd", "/etc/hosts", "/etc/ssl", "/var", "/home", "/srv", "/sys", "/boot", "/run/dbus",
            "/bin/sh", "/usr/bin/env", "/dev/shm/" ++ filename:basename(filename:dirname(py_directory:path("x"))),
            filename:join(Home, ".erlang.cookie"), filename:join(Home, ".ssh"), filename:join(Home, ".bashrc"),
            "/dev/vda", "/dev/sda", "/dev/mem", "/dev/kmsg", filename:absname(Readme), Secret
        ]
    ],
    ?assertEqual(["ld.so.cache"], [Name || Name <- py:func(os, listdir, [<<"/etc">>], #{pool => boxed})]),
    %% Of processes it sees its own.
    Numbers = call(process_numbers),
    ?assert(length(Numbers) =< 3, Numbers),
    ?assertEqual([], [N || N <- Numbers, N > 100]).

nothing_but_io_and_memory_is_written(Config) ->
    Io = directory(Config),
    start(Config, #{io => Io, max_memory => 200_000_000}),
    Library = py:const(os, '__file__', #{pool => boxed}),
    [
        ?assert(lists:member(call(try_write, [unicode:characters_to_binary(Path)]), ["OSError", "PermissionError"]), Path)
     || Path <- ["/x", "/opt/py/erl/x", "/usr/x", "/etc/x", "/dev/x", "/run/py/x", Library, "/proc/sys/kernel/hostname"]
    ],
    [?assertEqual("done", call(try_write, [Path]), Path) || Path <- [<<"/tmp/x">>, <<"/dev/shm/x">>, <<"/io/x">>]],
    %% Which is memory, and bounded.
    [?assertEqual("OSError", call(fill, [Path]), Path) || Path <- [<<"/tmp">>, <<"/dev/shm">>]].

no_descriptor_leads_outside(Config) ->
    start(Config),
    Targets = call(descriptors),
    ?assertEqual(
        [],
        [T || T <- Targets, re:run(T, "^(/dev/null|pipe:.*|socket:.*|anon_inode:.*|/proc/.*)$", [{capture, none}]) =/= match]
    ),
    %% What the box has of the worker process: the two pipes of the protocol, and the standard error.
    ?assertEqual(2, length(lists:usort([T || "pipe:" ++ _ = T <- Targets]))),
    ?assertEqual(1, length(lists:usort([T || "socket:" ++ _ = T <- Targets]))).

there_is_no_network(Config) ->
    {ok, Listener} = gen_tcp:listen(0, [{ip, {127, 0, 0, 1}}]),
    {ok, Port} = inet:port(Listener),
    ?assertEqual("done", hd(py:func(py_boxed, try_connect, [Port]))),
    start(Config),
    [?assertNotEqual("done", Tried) || Tried <- call(try_connect, [Port])],
    ?assertEqual(["lo"], call(interfaces)),
    ?assertEqual("gaierror", call(try_resolve)),
    ok = gen_tcp:close(Listener),
    ok = py:stop_pool(boxed),
    %% Where it is asked for it is there.
    {ok, Open} = gen_tcp:listen(0, [{ip, {127, 0, 0, 1}}]),
    {ok, Other} = inet:port(Open),
    start(Config, #{network => host}),
    ?assertEqual("done", hd(call(try_connect, [Other]))),
    ok = gen_tcp:close(Open).

the_environment_is_the_pools_own(Config) ->
    py_application:with_environment([{"PY_SECRET_OF_THE_BEAM", "secret"}], fun() ->
        start(Config, #{env => [{"TEA", "green"}, {"NONE", false}]})
    end),
    Names = call(environment),
    ?assert(lists:member("TEA", Names)),
    ?assertEqual([], Names -- ["HOME", "LANG", "LC_CTYPE", "PATH", "PWD", "PYTHONPATH", "TEA"]),
    %% Nor has the process beside it in the box, which it may look at.
    ?assertNot(call(holds, [<<"/proc/1/environ">>, <<"PY_SECRET_OF_THE_BEAM">>])).

there_are_no_rights_to_misuse(Config) ->
    start(Config),
    ?assertEqual({"0000000000000000", "0000000000000000", "1"}, call(rights)),
    %% Neither root's files nor the kernel's settings are its own.
    ?assertNotEqual(0, call(user)),
    ?assertNotEqual("done", call(try_become, [0])),
    WriteOnly = 1,
    [
        ?assert(lists:member(call(try_open, [Path, WriteOnly]), ["PermissionError", "FileNotFoundError", "OSError"]), Path)
     || Path <- [<<"/proc/sys/kernel/core_pattern">>, <<"/proc/sysrq-trigger">>, <<"/proc/sys/vm/drop_caches">>]
    ].

%% The time to the first answer, of the best of three, beside that of a Python without a box.
a_start_is_quick(Config) ->
    Starts = fun(Start, Pool) ->
        [
            begin
                {Us, _} = timer:tc(Start),
                ok = py:stop_pool(Pool),
                Us div 1_000
            end
         || _ <- [1, 2, 3]
        ]
    end,
    Boxed = Starts(fun() -> start(Config) end, boxed),
    Free = Starts(fun() -> {ok, _} = py:start_pool(free, #{size => 1}) end, free),
    ct:pal("a sandboxed worker starts in ~w ms, one without a box in ~w ms", [Boxed, Free]),
    ?assert(lists:min(Boxed) < 15 * lists:min(Free), {Boxed, Free}).

%%% Limits

the_least_that_a_pool_may_be_bound_to_is_enough(Config) ->
    start(Config, #{max_processes => 8}),
    ?assertEqual(6, call(await_sum, [[1, 2, 3]])).

limits_are_not_raised_again(Config) ->
    start(Config, #{max_cpu_seconds => 100}),
    ?assertEqual(lists:duplicate(4, "ValueError"), call(try_raise_limits)).

a_fork_bomb_is_contained(Config) ->
    start(Config, #{max_processes => 20}),
    Count = call(fork_bomb, [60], #{timeout => 20_000}),
    %% With the first process of the box, and nothing on the machine beside them.
    ?assert(Count =< 22, Count),
    [#{os_pid := OsPid}] = py:workers(boxed),
    Inside = [Pid || {Pid, _} <- py_os_process:descendants()],
    ?assert(length(Inside) =< 40, length(Inside)),
    ?assert(py_os_process:alive(OsPid)),
    ?assertEqual(3, py:add(1, 2)).

a_memory_bomb_is_contained(Config) ->
    start(Config, #{max_memory => 200_000_000}),
    ?assertError({python, 'builtins.MemoryError', _, _}, call(memory_bomb, [], #{timeout => 20_000})),
    ?assertEqual(3, py:func(operator, add, [1, 2], #{pool => boxed})),
    %% Of a kind that the limit of a process's own memory does not see.
    ?assertMatch(
        {error, {py, {worker_down, {memory, _}}}},
        replaced(fun() -> call(shared_memory_bomb, [], #{timeout => 20_000}) end)
    ).

memory_bombs_of_several_processes_are_contained(Config) ->
    start(Config, #{max_memory => 300_000_000}),
    ?assertMatch(
        {error, {py, {worker_down, {memory, Bytes}}}} when Bytes > 300_000_000,
        replaced(fun() -> call(memory_bombs, [5, 150_000_000], #{timeout => 20_000}) end)
    ).

cpu_seconds_are_bounded(Config) ->
    start(Config, #{max_cpu_seconds => 1}),
    ?assertMatch({error, {py, {worker_down, {signal, 24, _}}}}, replaced(fun() -> call(spin, [], #{timeout => 20_000}) end)),
    %% One that does not listen.
    ?assertMatch({error, {py, {worker_down, {signal, _, _}}}}, replaced(fun() -> call(spin_on, [], #{timeout => 20_000}) end)).

%%% Life and death

a_call_past_its_deadline_is_interrupted_or_killed(Config) ->
    start(Config, #{kill_after => 2_000}),
    [#{os_pid := OsPid}] = py:workers(boxed),
    [
        begin
            ?assertError({py, timeout}, call(Function, Args, #{timeout => 200})),
            ?assertEqual(3, py:func(operator, add, [1, 2], #{pool => boxed, timeout => 5_000}))
        end
     || {Function, Args} <- [{sleep, [60]}, {spin, []}, {sleep, [60]}]
    ],
    %% The same interpreter: it was interrupted.
    ?assertMatch([#{os_pid := OsPid}], py:workers(boxed)),
    ?assertEqual({error, {py, timeout}}, replaced(fun() -> call(spin_on, [], #{timeout => 200}) end)).

a_killed_box_is_replaced_and_leaves_nothing(Config) ->
    start(Config),
    [
        begin
            _ = call(leave_child),
            [#{os_pid := OsPid}] = py:workers(boxed),
            Family = py_sandbox_processes:all(maker(OsPid)),
            ?assert(length(Family) >= 3, Family),
            {error, {py, {worker_down, _}}} = replaced(fun() ->
                Caller = py_caller:start(fun() -> call(sleep, [60]) end),
                py_eventually:holds(fun() -> [#{in_flight := InFlight}] = py:workers(boxed), InFlight =:= 1 end),
                py_os_process:kill(Victim(OsPid)),
                {error, Reason} = py_caller:result(Caller),
                error(Reason)
            end),
            py_eventually:equals([], fun() -> [Pid || Pid <- Family, py_os_process:alive(Pid)] end)
        end
     || Victim <- [fun(OsPid) -> OsPid end, fun maker/1]
    ],
    %% It may also go by itself.
    _ = call(leave_child),
    ?assertMatch({error, {py, {worker_down, {exit_status, 3, _}}}}, replaced(fun() -> call(die) end)).

%% The program that made the box: two steps above the interpreter.
maker(OsPid) -> parent(parent(OsPid)).

parent(OsPid) ->
    {ok, Text} = file:read_file(["/proc/", integer_to_list(OsPid), "/stat"]),
    [_, After] = string:split(Text, ") ", trailing),
    [_, Parent | _] = string:split(After, " ", all),
    binary_to_integer(Parent).

no_call_that_it_was_sent_runs_elsewhere(Config) ->
    Io = directory(Config),
    start(Config, #{io => Io}),
    {error, oops} = replaced(fun() ->
        Sleeper = py_caller:start(fun() -> call(sleep, [60]) end),
        Queued = [py_caller:start(fun() -> call(write, [<<"/io/ran">>, <<>>]) end) || _ <- [1, 2]],
        py_eventually:holds(fun() -> [#{in_flight := InFlight}] = py:workers(boxed), InFlight =:= 3 end),
        [#{os_pid := OsPid}] = py:workers(boxed),
        py_os_process:kill(OsPid),
        [?assertMatch({error, {py, {worker_down, _}}}, Result) || Result <- py_caller:results([Sleeper | Queued])],
        error(oops)
    end),
    ?assertNot(filelib:is_file(filename:join(Io, "ran"))).

nothing_outlives_its_worker_process(Config) ->
    start(Config),
    _ = call(leave_child),
    [#{os_pid := OsPid}] = py:workers(boxed),
    Family = py_sandbox_processes:all(maker(OsPid)),
    Caller = py_caller:start(fun() -> call(spin_on) end),
    exit(worker(), kill),
    {error, {py, {worker_down, _}}} = py_caller:result(Caller),
    py_eventually:equals([], fun() -> [Pid || Pid <- Family, py_os_process:alive(Pid)] end),
    py_eventually:holds(fun() -> [S || #{state := S} <- py:workers(boxed)] =:= [serving] end).

nothing_outlives_its_pool(Config) ->
    Io = directory(Config),
    start(Config, #{size => 2, io => Io}),
    _ = call(leave_child),
    Families = [py_sandbox_processes:all(maker(OsPid)) || #{os_pid := OsPid} <- py:workers(boxed)],
    ok = py:stop_pool(boxed),
    py_eventually:equals([], fun() -> [Pid || Pid <- lists:append(Families), py_os_process:alive(Pid)] end),
    ?assertEqual([], filelib:wildcard(py_directory:path("*.err"))).

nothing_outlives_a_killed_beam(Config) ->
    [
        begin
            Io = directory(Config),
            {Port, Beam} = beam(Config, Io, Function),
            py_eventually:holds(fun() -> filelib:is_regular(filename:join(Io, "begun")) end, 20_000),
            Family = [OsPid || {OsPid, _} <- py_os_process:descendants(Beam)],
            ?assert(length(Family) >= 3, Family),
            py_os_process:kill(Beam),
            receive {Port, {exit_status, _}} -> ok after 5_000 -> ct:fail(beam_lives) end,
            py_eventually:equals([], fun() -> [Pid || Pid <- Family, py_os_process:alive(Pid)] end, 2_000)
        end
     || Function <- ["sleep, [60]", "spin_on, []"]
    ].

%% A BEAM of its own, killed in the middle of this call in a box that has left a child.
beam(Config, Io, Call) ->
    Options = #{size => 1, sandbox => bwrap, io => Io, python_path => [?config(data_dir, Config)]},
    Start = io_lib:format(
        "application:load(py), application:set_env(py, pools, ~0tp), {ok, started} = py:start(), "
        "py:func(py_boxed, leave_child), py:func(py_boxed, write, [<<\"/io/begun\">>, <<>>]), py:func(py_boxed, ~ts).",
        [[{default, Options}], Call]
    ),
    Args = ["-noinput", "-pa", filename:dirname(filename:absname(code:where_is_file("py.app"))), "-eval", lists:flatten(Start)],
    Port = open_port({spawn_executable, os:find_executable("erl")}, [{args, Args}, exit_status, hide]),
    {os_pid, OsPid} = erlang:port_info(Port, os_pid),
    {Port, OsPid}.

%%% Trust

its_pickles_are_read_nowhere_else(Config) ->
    start(Config, #{size => 2}),
    Trace = filename:join(?config(priv_dir, Config), "read"),
    Opaque = {'$erlport.opaque', python, _} = call(opaque, [unicode:characters_to_binary(Trace)]),
    [
        try py:func(builtins, repr, [Opaque], #{worker => Worker}) of
            Value -> ct:fail({read, Value})
        catch
            error:{py, {decode, Text}} -> ?assertNotEqual(nomatch, string:find(Text, "no worker of this application signed it"))
        end
     || #{worker := Worker} <- py:workers(default)
    ],
    ?assertNot(filelib:is_file(Trace)),
    %% Of its own pool only the one that made it reads it.
    Kept = [py:func(builtins, range, [3], #{worker => W}) || #{worker := W} <- py:workers(boxed)],
    [W1, W2] = [W || #{worker := W} <- py:workers(boxed)],
    ?assertEqual(3, py:func(builtins, len, [hd(Kept)], #{worker => W1})),
    ?assertError({py, {decode, _}}, py:func(builtins, len, [hd(Kept)], #{worker => W2})),
    %% And it reads none of the nodes'.
    ?assertError({py, {decode, _}}, py:func(builtins, len, [py:range(3)], #{pool => boxed})).

it_has_no_key_of_the_nodes(Config) ->
    start(Config, #{size => 2}),
    Keys = [py:func(py_boxed, key, [], #{worker => W}) || #{worker := W} <- py:workers(boxed)],
    ?assertEqual([32, 32], [byte_size(Key) || Key <- Keys]),
    ?assertEqual(3, length(lists:usort([py_key:get() | Keys]))).

twice(Number) -> 2 * Number.

it_calls_only_what_is_listed(Config) ->
    start(Config),
    ?assertMatch("ErlangError: error: " ++ _, call(call, [<<"erlang">>, <<"halt">>, []])),
    ?assertMatch("ErlangError: error: " ++ _, call(call, [<<?MODULE_STRING>>, <<"twice">>, [21]])),
    %% Not who is registered either, nor what the node is called.
    ?assertEqual(["ErlangError", "ErlangError", "ErlangError"], call(ask_node)),
    ok = py:stop_pool(boxed),
    start(Config, #{callbacks => [{?MODULE, twice}]}),
    ?assertEqual("42", call(call, [<<?MODULE_STRING>>, <<"twice">>, [21]])),
    ?assertMatch("ErlangError: error: " ++ _, call(call, [<<"erlang">>, <<"node">>, []])),
    ?assertError(badarg, py:start_pool(open, #{sandbox => bwrap, callbacks => all})).

its_messages_reach_no_process(Config) ->
    start(Config),
    true = register(py_sandbox_target, self()),
    undefined = call(cast, [self(), <<"to a pid">>]),
    undefined = call(cast_name, [<<"py_sandbox_target">>, <<"to a name">>]),
    %% Behind them in the same pipe.
    ?assertEqual(3, py:func(operator, add, [1, 2], #{pool => boxed})),
    true = unregister(py_sandbox_target),
    ?assertEqual([], py_application:messages()).

its_answers_are_only_values(Config) ->
    start(Config),
    Ours = py:func(threading, 'Lock', []),
    [
        try call(identity, [Value]) of
            Answer -> ct:fail({answered, Answer})
        catch
            error:{py, {encode, Text}} -> ?assertNotEqual(nomatch, string:find(Text, "may not answer with"), Text)
        end
     || Value <- [self(), make_ref(), fun erlang:halt/0, [1, {a, self()}], #{a => [make_ref()]}, hd(erlang:ports())]
    ],
    %% A reference of another worker, of which Python itself would make none.
    ?assertMatch({error, {py, {encode, "a sandboxed Python may not answer with a reference" ++ _}}}, answered_raw({r, Ours})),
    ?assertEqual(false, py:method(Ours, locked)),
    ok = py:release(Ours),
    ?assertEqual({1, [<<"a">>], {"dict", [{"b", 2.5}]}}, call(identity, [{1, [{bytes, <<"a">>}], #{<<"b">> => 2.5}}])).

%% What the caller makes of this answer to its call. The true one comes behind it, to no call that is open.
answered_raw({Kind, Value}) ->
    replaced(fun() -> call(send, [{bytes, term_to_binary({Kind, next_id(), Value})}], #{timeout => 10_000}) end).

%% Each call has the next number: that of one that was just made is the worker's to know.
next_id() ->
    {status, _, _, Items} = sys:get_status(worker()),
    {match, [Next]} = re:run(io_lib:format("~p", [Items]), "next\\s*=>\\s*(\\d+)", [{capture, all_but_first, list}]),
    list_to_integer(Next).

its_atoms_have_a_budget_of_their_own(Config) ->
    start(Config),
    #{pool := Most} = py_config:max_sandbox_atoms(),
    Prefix = <<"py_sandbox_atom_", (integer_to_binary(erlang:unique_integer([positive])))/binary>>,
    Before = erlang:system_info(atom_count),
    ?assertError({py, {encode, _}}, call(atoms, [Prefix, Most + 1])),
    ?assert(erlang:system_info(atom_count) - Before < 1_000),
    %% The budget of the others is untouched.
    ?assertEqual(10, length(py:func(py_boxed, atoms, [Prefix, 10]))),
    ?assertEqual(10, length(call(atoms, [Prefix, 10]))).

frames_that_no_good_python_sends_end_it(Config) ->
    start(Config, #{max_memory => 100_000_000}),
    Worker = worker(),
    [
        ?assertMatch(
            {Name, {error, {py, {worker_down, {protocol, _}}}}},
            {Name, replaced(fun() -> call(send_and_hang, [{bytes, Frame}], #{timeout => 10_000}) end)}
        )
     || {Name, Frame} <- [
            {no_term, <<"junk">>},
            {truncated, <<131, 104, 3, 119>>},
            {answer_to_no_call, term_to_binary({r, 1_000_000, a})},
            {compressed, term_to_binary({r, 1, binary:copy(<<0>>, 1_000_000)}, [compressed])},
            {no_message, term_to_binary({'Z', 1})},
            {print_of_no_text, term_to_binary({'P', {self(), make_ref()}})},
            {own_of_no_list, term_to_binary({'M', Worker, {'$py.own', 1, [a | b]}})},
            {own_of_much, term_to_binary({'M', Worker, {'$py.own', 1, lists:seq(1, 20_000)}})},
            {log_of_no_text, term_to_binary({'M', Worker, {'$py.log', {error, self(), "", "", 1}}})},
            {call_with_no_number, term_to_binary({'C', "1", lists, sum, [], 'N'})}
        ]
    ],
    ?assertMatch({error, {py, {worker_down, {protocol, _}}}},
        replaced(fun() -> call(send_large_print, [5_000_000], #{timeout => 10_000}) end)),
    %% More than its memory could hold, and more than anybody waits for.
    ?assertMatch({error, {py, {worker_down, {protocol, _}}}},
        replaced(fun() -> call(send_length, [200_000_000], #{timeout => 10_000}) end)),
    Call = term_to_binary({'C', 7, erlang, halt, [], 'L'}),
    ?assertMatch({error, {py, {worker_down, _}}}, replaced(fun() -> call(flood, [{bytes, Call}], #{timeout => 20_000}) end)),
    ?assertEqual(Worker, worker()).

errors_of_a_made_up_shape_are_told_as_such(Config) ->
    start(Config),
    %% Forty million empty lists, which would be 640 MB.
    ?assertMatch({error, {py, {encode, _}}}, replaced(fun() -> call(send_empty_lists, [next_id(), 40_000_000]) end)),
    [
        ?assertEqual({error, {py, {protocol, unreadable_answer}}}, answered_raw({e, Error}))
     || Error <- [
            {py, not_started},
            badarg,
            {python, 'builtins.ValueError', {not_text}, []},
            {python, 'builtins.ValueError', "text", [a | b]},
            {erlang, {'$erlport.opaque', erlang, <<"junk">>}},
            {erlang, {'$erlport.opaque', erlang, term_to_binary({a, b, c})}}
        ]
    ].

what_it_prints_and_logs_is_bounded(Config) ->
    start(Config),
    {undefined, Leader} = py_output:of_call(fun() -> call(print_escape) end),
    py_eventually:equals("red \\x1b[31m alert \\x9b2J end\n", fun() -> py_output:text(Leader) end),
    py_output:stop(Leader),
    {undefined, Much} = py_output:of_call(fun() -> call(print_much, [20_000_000], #{timeout => 60_000}) end),
    ?assertEqual(3, py:func(operator, add, [1, 2], #{pool => boxed})),
    %% It took some seconds at the most, of a megabyte each. What was not shown is said, and nothing else is missing.
    Text = fun() -> py_output:text(Much) end,
    Dropped = fun(Shown) ->
        Pattern = "\\[py: ([0-9]+) bytes in [0-9]+ texts were dropped:[^\n]*\n",
        case re:run(Shown, Pattern, [global, {capture, all, list}]) of
            {match, Lines} ->
                {lists:sum([list_to_integer(Bytes) || [_, Bytes] <- Lines]), lists:sum([length(Line) || [Line, _] <- Lines])};
            nomatch ->
                {0, 0}
        end
    end,
    py_eventually:equals(20_000_000, fun() ->
        Shown = Text(),
        {Bytes, Said} = Dropped(Shown),
        length(Shown) - Said + Bytes
    end),
    ?assert(length(Text()) < 15_000_000),
    py_output:stop(Much).

what_it_writes_to_standard_error_has_to_wait(Config) ->
    start(Config),
    Real = whereis(standard_error),
    Leader = py_output:start(),
    true = unregister(standard_error),
    true = register(standard_error, Leader),
    try
        {Us, undefined} = timer:tc(fun() -> call(print_errors, [<<"a\e[31m">>, 1_500_000], #{timeout => 60_000}) end),
        ?assert(Us > 1_000_000),
        py_eventually:holds(fun() -> string:prefix(py_output:text(Leader), "a\\x1b[31ma") =/= nomatch end)
    after
        true = unregister(standard_error),
        true = register(standard_error, Real),
        py_output:stop(Leader)
    end,
    ?assertEqual(3, py:func(operator, add, [1, 2], #{pool => boxed})).

it_makes_no_further_namespaces(Config) ->
    start(Config),
    ?assertEqual(false, call(try_unshare)).

%% Numbers of x86-64 and of the others, where they differ.
it_asks_little_of_the_kernel(Config) ->
    Io = directory(Config),
    start(Config, #{io => Io}),
    case erlang:system_info(system_architecture) of
        "x86_64" ++ _ ->
            %% io_uring_setup, clone3, keyctl, add_key, bpf, perf_event_open, userfaultfd, setns.
            ?assertEqual([38, 38, 1, 1, 1, 1, 1, 1], [call(asked, [Number, 0, 0, 0]) || Number <- [425, 435, 250, 248, 321, 298, 323, 308]]),
            %% getpid
            ?assertEqual(0, call(asked, [39]));
        Other ->
            ct:comment("~ts: by the pure tests", [Other])
    end,
    %% VSOCK, and what is of use.
    ?assertEqual(97, call(try_socket, [40])),
    ?assertEqual([0, 0], [call(try_socket, [Family]) || Family <- [1, 2]]),
    %% No file outside runs as the box's user, whoever starts it.
    ?assertEqual(["PermissionError", "PermissionError", "done"], [call(try_chmod, [<<"/io/x">>, Mode]) || Mode <- [8#4755, 8#2755, 8#755]]),
    ?assertEqual(["PermissionError", "done"], [call(try_make, [<<"/io/y">>, Mode]) || Mode <- [8#4755, 8#755]]),
    ?assertEqual([], [Name || Name <- filelib:wildcard(filename:join(Io, "*")), {ok, #file_info{mode = Mode}} <- [file:read_file_info(Name)],
        Mode band 8#6000 =/= 0]),
    ?assertEqual(7, call(fork_and_thread)).

it_can_lie_to_its_own_caller_only(Config) ->
    start(Config),
    %% Nobody can keep it from that.
    ?assertEqual({ok, forged}, answered_raw({r, forged})),
    ?assertEqual(3, py:add(1, 2)).

%%% What is missing is told

without_bwrap_the_start_says_what_to_do(_Config) ->
    {error, {py, {start, boxed, {start, {sandbox, {bwrap, no_program}}}}} = Error} =
        py_application:with_environment([{"PATH", "/nowhere"}], fun() ->
            py:start_pool(boxed, #{size => 1, sandbox => bwrap})
        end),
    ?assertNotEqual(nomatch, string:find(py_error:text(Error), "apt-get install bubblewrap")).

a_wrong_io_is_told(_Config) ->
    case os:find_executable("bwrap") of
        false ->
            {skip, "no bwrap"};
        _ ->
            {error, {py, {start, boxed, {start, {sandbox, {bwrap, {no_directory, "/no/such"}}}}}} = Error} =
                py:start_pool(boxed, #{size => 1, sandbox => bwrap, io => "/no/such"}),
            ?assertNotEqual(nomatch, string:find(py_error:text(Error), "/no/such"))
    end.

what_is_the_systems_is_not_given_away(Config) ->
    Link = filename:join(?config(priv_dir, Config), "link"),
    ok = file:make_symlink("/srv", Link),
    {ok, #file_info{uid = User}} = file:read_file_info("/proc/self"),
    {ok, #file_info{uid = Owner, mode = Mode}} = file:read_file_info("/srv"),
    case {User, Owner, os:find_executable("bwrap")} of
        {0, 0, [_ | _]} ->
            [
                ?assertMatch(
                    {error, {py, {start, boxed, {start, {sandbox, {bwrap, {io_owner, Io, eperm}}}}}}},
                    py:start_pool(boxed, #{size => 1, sandbox => bwrap, io => Io})
                )
             || Io <- ["/srv", "/srv/", "/srv/.", "/tmp/../srv", "/", "//", Link]
            ],
            ?assertMatch({ok, #file_info{uid = 0, mode = Mode}}, file:read_file_info("/srv")),
            ?assertMatch({ok, #file_info{uid = 0}}, file:read_file_info("/"));
        _ ->
            {skip, "only root gives directories away"}
    end.

a_link_that_another_user_made_is_not_followed(Config) ->
    {ok, #file_info{uid = User}} = file:read_file_info("/proc/self"),
    case {User, os:find_executable("bwrap")} of
        {0, [_ | _]} ->
            [Box, Roots, Victims] = [directory(Config) || _ <- [box, roots, victims]],
            ok = filelib:ensure_path(filename:join(Roots, "deep")),
            ok = file:change_owner(Box, 12_345, 12_345),
            ok = file:change_owner(Victims, 12_346, 12_346),
            Link = fun(Name, Target, Owner) ->
                Path = filename:join(Box, Name),
                ok = file:make_symlink(Target, Path),
                {0, _} = py_program:run(os:find_executable("chown"), [{args, ["-h", integer_to_list(Owner), Path]}], 5_000),
                Path
            end,
            ToRoots = Link("roots", Roots, 12_345),
            Bad = [
                ToRoots,
                Link("victims", Victims, 12_345),
                Link("over", ToRoots, 0),
                filename:join(ToRoots, "deep"),
                Link("relative", filename:join("..", filename:basename(Roots)), 12_345)
            ],
            [
                ?assertMatch(
                    {error, {py, {start, boxed, {start, {sandbox, {bwrap, {io_link, Io, _}}}}}}},
                    py:start_pool(boxed, #{size => 1, sandbox => bwrap, io => Io})
                )
             || Io <- Bad
            ],
            {error, Error} = py:start_pool(boxed, #{size => 1, sandbox => bwrap, io => list_to_binary(ToRoots)}),
            ?assertNotEqual(nomatch, string:find(py_error:text(Error), "is reached by the link")),
            %% What root, or the owner, leads to is meant.
            [
                begin
                    {ok, _} = py:start_pool(boxed, #{size => 1, sandbox => bwrap, io => Io}),
                    ok = py:stop_pool(boxed)
                end
             || Io <- [Link("by-root", Victims, 0), Link("by-owner", Victims, 12_346)]
            ],
            ?assertMatch({ok, #file_info{uid = 0}}, file:read_file_info(Roots));
        _ ->
            {skip, "only root's boxes run as other users"}
    end.

its_modules_go_to_no_other_node(_Config) ->
    ok = py_application:stop(),
    ok = py_application:start([{default, #{size => 1, sandbox => bwrap}}]),
    ?assertError({py, {ship, sandboxed}}, py_cluster:push(json)).

docker_says_what_is_missing(_Config) ->
    {error, {py, {start, boxed, {start, {sandbox, {docker, no_program}}}}} = None} =
        py_application:with_environment([{"PATH", "/nowhere"}], fun() ->
            py:start_pool(boxed, #{size => 1, sandbox => docker})
        end),
    ?assertNotEqual(nomatch, string:find(py_error:text(None), "install")),
    case os:find_executable("docker") of
        false ->
            {skip, "no docker on PATH; that this is told was tested"};
        _ ->
            %% A daemon that is not there.
            {error, {py, {start, boxed, {start, {sandbox, {docker, {no_daemon, _}}}}}} = Error} =
                py_application:with_environment([{"DOCKER_HOST", "unix:///nowhere/docker.sock"}], fun() ->
                    py:start_pool(boxed, #{size => 1, sandbox => docker})
                end),
            Text = py_error:text(Error),
            [?assertNotEqual(nomatch, string:find(Text, Word)) || Word <- ["daemon", "systemctl start docker", "bwrap"]]
    end.

docker_runs_the_same(Config) ->
    Io = directory(Config),
    ok = file:write_file(filename:join(Io, "in.txt"), "from Erlang"),
    start(Config, #{sandbox => docker, io => Io, start_timeout => 60_000}),
    ?assertEqual("from Erlang", call(read, [<<"/io/in.txt">>])),
    undefined = call(write, [<<"/io/example.txt">>, <<"from the box">>]),
    ?assertEqual({ok, <<"from the box">>}, file:read_file(filename:join(Io, "example.txt"))),
    ?assertEqual(["lo"], call(interfaces)),
    ?assertError({py, timeout}, call(sleep, [60], #{timeout => 200})),
    ?assertEqual(3, py:func(operator, add, [1, 2], #{pool => boxed})).

docker_binds_the_same(Config) ->
    start(Config, #{sandbox => docker, max_memory => 200_000_000, max_processes => 20, start_timeout => 60_000}),
    ?assert(call(user) > 0),
    ?assertEqual("PermissionError", call(try_become, [0])),
    ?assertMatch("OSError" ++ _, call(try_write, [<<"/etc/py">>])),
    ?assert(call(fork_bomb, [60], #{timeout => 20_000}) =< 22),
    %% An exception, or killed by the kernel.
    ?assertError(_, call(memory_bomb, [], #{timeout => 20_000})),
    serves(),
    ?assertError({py, timeout}, call(spin_on, [], #{timeout => 200})),
    serves().

serves() ->
    py_eventually:holds(fun() -> [serving] =:= [State || #{state := State} <- py:workers(boxed)] end, 60_000),
    ?assertEqual(3, py:func(operator, add, [1, 2], #{pool => boxed})).

docker_leaves_nothing(Config) ->
    start(Config, #{sandbox => docker, start_timeout => 60_000}),
    ?assertMatch([_], containers()),
    py:stop_pool(boxed),
    py_eventually:equals([], fun containers/0, 20_000),
    start(Config, #{sandbox => docker, start_timeout => 60_000}),
    [Before] = containers(),
    exit(worker(), kill),
    py_eventually:holds(fun() -> length(containers()) =:= 1 andalso containers() =/= [Before] end, 60_000).

containers() ->
    Filter = ["ps", "--quiet", "--filter", "label=erl-py=" ++ os:getpid()],
    {0, Said} = py_program:run(os:find_executable("docker"), [{args, Filter}], 10_000),
    string:lexemes(Said, "\n").
