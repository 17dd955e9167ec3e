%%% The command lines of sandboxes.
-module(py_sandbox_bwrap_tests).

-include_lib("eunit/include/eunit.hrl").

box() ->
    #{
        python => "/srv/venv/bin/python",
        arguments => ["-c", "main()"],
        package => "/srv/py/priv/python",
        footprint => [<<"/lib/x86">>, <<"/usr/lib/x86/libc.so">>, <<"/usr/lib/x86">>, <<"/srv/venv">>, <<"/srv/venv/lib">>],
        links => [{"lib", "usr/lib"}, {"bin", "usr/bin"}],
        user => undefined,
        stderr => "/dev/shm/one/1.err"
    }.

arguments(Options) -> arguments(Options, #{}).

arguments(Options, Box) ->
    {ok, Pool} = py_pool_options:check(Options#{sandbox => bwrap}),
    [unicode:characters_to_list(Arg) || Arg <- py_sandbox_bwrap:arguments(Pool, maps:merge(box(), Box))].

%% These stand side by side.
has(Parts, Arguments) ->
    lists:any(fun(N) -> lists:prefix(Parts, lists:nthtail(N, Arguments)) end, lists:seq(0, length(Arguments))).

what_is_below_another_is_mounted_once_test() ->
    Arguments = arguments(#{}),
    Mounted = [Target || {"--ro-bind", Target} <- mounts(Arguments)],
    ?assertEqual(["/srv/venv", "/usr/lib/x86", "/opt/py/erl"], Mounted),
    ?assert(has(["--symlink", "usr/lib", "/lib"], Arguments)),
    ?assertNot(has(["--symlink", "usr/bin", "/bin"], Arguments)).

mounts([How, _Source, Target | Rest]) when How =:= "--ro-bind"; How =:= "--bind" -> [{How, Target} | mounts(Rest)];
mounts([_ | Rest]) -> mounts(Rest);
mounts([]) -> [].

only_io_and_the_socket_can_be_written_test() ->
    ?assertEqual(["/run/py/stderr"], [Target || {"--bind", Target} <- mounts(arguments(#{}))]),
    ?assertEqual(["/io", "/run/py/stderr"], [Target || {"--bind", Target} <- mounts(arguments(#{io => "/srv/io"}))]),
    ?assertEqual([], [Target || {"--bind", Target} <- mounts(arguments(#{}, #{stderr => undefined}))]),
    ?assert(has(["--remount-ro", "/dev", "--remount-ro", "/"], arguments(#{}))).

it_is_apart_from_everything_test() ->
    Arguments = arguments(#{}),
    [
        ?assert(lists:member(Flag, Arguments), Flag)
     || Flag <- [
            "--unshare-user", "--disable-userns", "--unshare-ipc", "--unshare-pid", "--unshare-net", "--unshare-uts",
            "--unshare-cgroup-try", "--die-with-parent", "--new-session"
        ]
    ],
    ?assert(has(["--cap-drop", "ALL"], Arguments)),
    ?assertNot(lists:member("--cap-add", Arguments)),
    ?assertNot(lists:member("--unshare-net", arguments(#{network => host}))).

roots_box_may_change_its_user_and_does_test() ->
    Arguments = arguments(#{}, #{user => 1_900_000_000}),
    ?assert(has(["--cap-drop", "ALL", "--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"], Arguments)),
    ?assert(has(["/opt/py/erl/sandbox/gate.py", "1900000000"], Arguments)).

the_first_program_gets_the_limits_test() ->
    Limits = fun(Options) ->
        lists:sublist(tl(lists:dropwhile(fun(A) -> A =/= "/opt/py/erl/sandbox/gate.py" end, arguments(Options))), 5)
    end,
    Python = "/srv/venv/bin/python",
    ?assertEqual(["-", "1073741824", "-", "64", Python], Limits(#{})),
    ?assertEqual(
        ["-", "-", "7", "-", Python],
        Limits(#{max_memory => infinity, max_cpu_seconds => 7, max_processes => infinity})
    ).

a_small_box_has_little_room_test() ->
    ?assert(has(["--size", "25000000", "--tmpfs", "/tmp"], arguments(#{max_memory => 100_000_000}))),
    ?assert(has(["--size", "268435456", "--tmpfs", "/tmp"], arguments(#{max_memory => infinity}))).

nothing_of_the_environment_stands_in_the_arguments_test() ->
    ?assertNot(lists:any(fun(Arg) -> string:find(Arg, "green") =/= nomatch end, arguments(#{env => [{"TEA", "green"}]}))).

the_directory_is_one_of_the_box_test() ->
    ?assert(has(["--chdir", "/tmp", "--"], arguments(#{}))),
    ?assert(has(["--chdir", "/io", "--"], arguments(#{cd => "/io", io => "/srv/io"}))).

an_old_bubblewrap_is_known_test_() ->
    [
        ?_assertEqual(Expected, py_sandbox_bwrap:is_usable(Said))
     || {Expected, Said} <- [
            {true, <<"bubblewrap 0.8.0\n">>}, {true, <<"bubblewrap 0.11.0\n">>}, {true, <<"bubblewrap 1.0.0\n">>},
            {false, <<"bubblewrap 0.4.1\n">>}, {false, <<"bubblewrap 0.6.1\n">>}, {false, <<"no version">>}, {false, <<>>}
        ]
    ].

%%% Docker's

docker(Options) ->
    {ok, #{env := Env} = Pool} = py_pool_options:check(Options#{sandbox => docker}),
    Box = #{name => "erl-py-7-AB", owner => "7", user => "1000:1000", arguments => ["--packet=4", "--use_stdio", "--py"]},
    [unicode:characters_to_list(Arg) || Arg <- py_sandbox_docker:arguments(Pool#{env := py_secret:reveal(Env)}, Box)].

a_container_is_bound_test() ->
    Arguments = docker(#{max_cpu_seconds => 9}),
    [
        ?assert(has(Parts, Arguments), Parts)
     || Parts <- [
            ["run", "--rm", "--interactive", "--init"], ["--network", "none"], ["--memory", "1073741824"],
            ["--memory-swap", "1073741824"], ["--pids-limit", "64"], ["--ulimit", "cpu=9"], ["--read-only"],
            ["--cap-drop", "ALL"], ["--security-opt", "no-new-privileges"], ["--user", "1000:1000"],
            ["--name", "erl-py-7-AB"], ["--label", "erl-py=7"], ["--workdir", "/tmp"],
            ["erl-py-sandbox", "python3", "-m", "erl", "--packet=4", "--use_stdio", "--py"]
        ]
    ],
    ?assertNot(lists:member("--mount", Arguments)).

a_containers_limits_can_be_left_out_test() ->
    Arguments = docker(#{max_memory => infinity, max_processes => infinity}),
    ?assertNot(lists:member("--memory", Arguments) orelse lists:member("--pids-limit", Arguments)).

a_container_gets_what_the_pool_names_test() ->
    Arguments = docker(#{
        io => "/srv/io", network => "tea", image => "mine:1", env => [{"TEA", "green"}, {"NONE", false}],
        python_path => ["/srv/lib"], python => "python3.12", cd => "/io"
    }),
    [
        ?assert(has(Parts, Arguments), Parts)
     || Parts <- [
            ["--mount", "type=bind,source=/srv/io,target=/io"], ["--network", "tea"], ["--env", "TEA"],
            ["--mount", "type=bind,source=/srv/lib,target=/srv/lib,readonly"], ["--env", "PYTHONPATH=/srv/lib"],
            ["--workdir", "/io"], ["mine:1", "python3.12", "-m", "erl"]
        ]
    ],
    ?assertNot(lists:any(fun(Arg) -> string:find(Arg, "green") =/= nomatch end, Arguments)),
    ?assertNot(lists:member("NONE", Arguments)),
    ?assertEqual(["kill", "erl-py-7-AB"], py_sandbox_docker:kill("erl-py-7-AB")).
