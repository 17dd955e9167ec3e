%%% Options of pools: what is taken, what is refused, the defaults, what a sandbox changes.
-module(py_pool_options_tests).

-include_lib("eunit/include/eunit.hrl").

%% A deadline of OTP's timers.
-define(LONGEST_MS, 16#ffffffff).

%% {option of a pool, values that it takes, values that it refuses}.
pool_options() ->
    [
        {size, [1, 1024], [0, -1, 1025, 1.0, two]},
        {python, [undefined, "/usr/bin/python3", <<"python3">>, {venv, "/srv/ml"}, {venv, <<"/srv/ml">>}], [
            python3, "", {venv, undefined}, {venv, 1}, 3
        ]},
        {python_path, [[], ["a"], [<<"a">>, "b"]], ["a", [undefined], [a], a]},
        {env, [[], [{"A", "b"}], [{"A", false}]], [[{a, "b"}], [{"A", b}], ["A=b"], #{}, [{"A", "b"} | c], [{<<255>>, "b"}]]},
        {cd, [undefined, "/tmp", <<"/tmp">>], [tmp, 1]},
        {import, [[], [numpy, <<"os.path">>, "sklearn.cluster"]], [
            numpy, "numpy", <<"numpy">>, [1], [""], [<<>>], [''], [<<255>>], [numpy | scipy], [{numpy, []}]
        ]},
        {preload, [[], [numpy, <<"os.path">>, "sklearn.cluster"]], [numpy, "numpy", [1], [""], [numpy | scipy]]},
        {on_start, [undefined, {m, f, []}, {<<"m">>, <<"f">>, [1]}], [{m, f}, {m, f, a}, {m, f, [a | b]}, {"m", f, []}]},
        {scheduler, [least_busy, round_robin, random, first, youngest, oldest, {m, f}], [fastest, {m}, {"m", f}]},
        {call_timeout, [infinity, 0, 5_000], [-1, never]},
        {start_timeout, [1, ?LONGEST_MS], [0, infinity, -1]},
        {kill_after, [0, 1_000], [infinity, -1]},
        {drain_timeout, [infinity, 0, 5_000], [-1, never]},
        {print_timeout, [1, 5_000], [0, -1, infinity, never]},
        {max_queue, [infinity, 0, 100], [-1, 1.5, none]},
        {max_calls, [infinity, 1, 100], [0, -1, none]},
        {max_memory, [infinity, 16_777_216], [16_777_215, 0, "1G"]},
        {recycle, [auto, never], [always, true, infinity]},
        {event_loop, [asyncio, uvloop], [trio]},
        {threads, [1, 40, 1024], [0, 1025, -1, infinity, 2.0]},
        {coroutines, [infinity, 1, 100], [0, -1, 1.5, none]},
        {callbacks, [all, none, [], [{lists, sum}]], [some, [{lists, sum, 1}], [lists]]},
        {restart, [#{}, #{max => 0}, #{max => 1, within => 2, delay => 3, max_delay => 4}], [
            #{most => 1}, #{max => -1}, [], 5
        ]},
        {encoders, [[], [{'m.C', {m, f}}], [{<<"m.C">>, {<<"m">>, <<"f">>}}]], [[{'m.C', m}], #{}, ["m.C"]]},
        {decoders, [[], [{point, {m, f}}], [{<<"point">>, {m, f}}]], [[{"point", {m, f}}], point]},
        {strings, [list, binary], [string]},
        {dicts, [tagged, map], [maps]},
        {haystack, [true, false], [on, 1]},
        {frames, [grid, columns, arrow], [rows, true]},
        {matrices, [true, false], [numpy]},
        {none, [undefined, nil, none], [null, false]},
        {arrays, [opaque, value, shared], [true, numpy]},
        {pickle, [signed, any], [none]},
        {show_arguments, [undefined, cut, none, all], [some, true]},
        {style, [undefined, erlang, elixir], [lfe, true]},
        {log_level, [debug, info, warning, error, critical], [notice, 3]}
    ].

%% The same for what only a pool with a sandbox has, of the kind that takes all of them.
sandbox_options() ->
    [
        {sandbox, [bwrap, docker], [true, "bwrap", podman]},
        {io, [undefined, "/srv/io", <<"/srv/io">>], [io, 1]},
        {control_chars, [escape, keep], [true, drop]},
        {network, [none, host, "tea"], [bridge, "", "-x", "a b", <<"tea">>]},
        {max_cpu_seconds, [infinity, 1], [0, -1, 1.5, none]},
        {max_processes, [infinity, 8], [7, 0, -1, none]},
        {image, ["tea", "registry:5000/tea/green:1.0"], ["", "--privileged", tea, "a b"]}
    ].

a_good_option_of_a_sandbox_is_taken_test_() ->
    [
        {name(Key, Value), fun() ->
            {ok, Pool} = py_pool_options:check(maps:merge(#{sandbox => docker}, #{Key => Value})),
            ?assertEqual(Value, map_get(Key, Pool))
        end}
     || {Key, Good, _} <- sandbox_options(), Value <- Good
    ].

a_bad_option_of_a_sandbox_is_named_with_what_it_must_be_test_() ->
    [
        {name(Key, Value),
            ?_assertMatch(
                {error, {bad_option, Key, Value, _}}, py_pool_options:check(maps:merge(#{sandbox => docker}, #{Key => Value}))
            )}
     || {Key, _, Bad} <- sandbox_options(), Value <- Bad
    ].

an_option_of_a_sandbox_without_one_is_refused_test_() ->
    [
        {name(Key, hd(Good)), ?_assertMatch({error, {bad_option, Key, _, _}}, py_pool_options:check(#{Key => hd(Good)}))}
     || {Key, Good, _} <- tl(sandbox_options())
    ].

a_sandbox_is_bound_where_nothing_is_said_test() ->
    {ok, Pool} = py_pool_options:check(#{sandbox => bwrap}),
    ?assertMatch(
        #{callbacks := none, network := none, io := undefined, max_memory := 1_073_741_824, max_processes := 64,
            max_cpu_seconds := infinity},
        Pool
    ),
    ?assertMatch({ok, #{max_memory := infinity}}, py_pool_options:check(#{sandbox => bwrap, max_memory => infinity})).

what_a_sandbox_has_not_is_refused_test() ->
    ?assertMatch({error, {bad_option, callbacks, all, _}}, py_pool_options:check(#{sandbox => bwrap, callbacks => all})),
    ?assertMatch({error, {bad_option, arrays, shared, _}}, py_pool_options:check(#{sandbox => bwrap, arrays => shared})),
    ?assertMatch({error, {bad_option, preload, [numpy], _}}, py_pool_options:check(#{sandbox => bwrap, preload => [numpy]})),
    ?assertMatch({ok, #{arrays := value}}, py_pool_options:check(#{sandbox => bwrap, arrays => value})),
    ?assertMatch({error, {bad_option, network, "tea", _}}, py_pool_options:check(#{sandbox => bwrap, network => "tea"})).

a_good_option_of_a_pool_is_taken_test_() ->
    [
        {name(Key, Value), fun() ->
            {ok, Pool} = py_pool_options:check(#{Key => Value}),
            case Key of
                restart -> ?assertEqual(Value, maps:with(maps:keys(Value), map_get(restart, Pool)));
                on_start when Value =/= undefined ->
                    {Module, Function, Args} = map_get(on_start, Pool),
                    ?assertEqual(Value, {Module, Function, py_secret:reveal(Args)});
                _ -> ?assertEqual(Value, py_secret:reveal(map_get(Key, Pool)))
            end
        end}
     || {Key, Good, _} <- pool_options(), Value <- Good
    ].

a_bad_option_of_a_pool_is_named_with_what_it_must_be_test_() ->
    [
        {name(Key, Value), ?_assertMatch({error, {bad_option, Key, Shown, _}}, py_pool_options:check(#{Key => Value}))}
     || {Key, _, Bad} <- pool_options(), Value <- Bad, Shown <- [if Key =:= env; Key =:= on_start -> '...'; true -> Value end]
    ].

what_may_be_secret_is_shown_by_nothing_that_prints_a_pool_test() ->
    {ok, Pool} = py_pool_options:check(#{env => [{"TOKEN", "s3cr3t"}], on_start => {m, f, [<<"s3cr3t">>]}}),
    ?assertEqual(nomatch, string:find(io_lib:format("~p", [Pool]), "s3cr3t")),
    ?assertEqual([{"TOKEN", "s3cr3t"}], py_secret:reveal(map_get(env, Pool))),
    {error, Problem} = py_pool_options:check(#{env => [{token, "s3cr3t"}]}),
    ?assertEqual(nomatch, string:find(io_lib:format("~p ~ts", [Problem, py_options:describe(Problem)]), "s3cr3t")).

%% Warm workers are given to sessions that have the same options.
pools_with_the_same_secrets_are_equal_test() ->
    ?assertEqual(py_pool_options:check(#{env => [{"A", "1"}]}), py_pool_options:check(#{env => [{"A", "1"}]})),
    ?assertNotEqual(py_pool_options:check(#{env => [{"A", "1"}]}), py_pool_options:check(#{env => [{"A", "2"}]})).

name(Key, Value) -> lists:flatten(io_lib:format("~tw => ~tw", [Key, Value])).

the_options_of_this_file_are_all_there_are_test() ->
    {ok, Pool} = py_pool_options:check(#{}),
    ?assertEqual(lists:sort(maps:keys(Pool)), lists:sort([Key || {Key, _, _} <- pool_options() ++ sandbox_options()])).

the_defaults_are_these_test() ->
    {ok, Pool} = py_pool_options:check(#{}),
    ?assertMatch(
        #{
            python := undefined,
            python_path := [],
            env := [],
            on_start := undefined,
            scheduler := least_busy,
            call_timeout := infinity,
            start_timeout := 15_000,
            kill_after := 1_000,
            restart := #{max := 5, within := 10_000, delay := 50, max_delay := 30_000},
            strings := list,
            dicts := tagged,
            haystack := false,
            frames := grid,
            matrices := false,
            arrays := opaque,
            pickle := signed
        },
        Pool
    ),
    ?assertEqual(erlang:system_info(schedulers_online), map_get(size, Pool)).

the_environment_may_be_of_elixirs_strings_test() ->
    {ok, #{env := Env}} = py_pool_options:check(#{env => [{<<"TEA">>, <<"zelený"/utf8>>}, {<<"OLD">>, false}]}),
    ?assertEqual([{"OLD", false}, {"TEA", "zelený"}], lists:sort(py_secret:reveal(Env))),
    ?assertEqual(py_pool_options:check(#{env => [{"A", "b"}]}), py_pool_options:check(#{env => [{<<"A">>, <<"b">>}]})).

a_restart_option_keeps_the_defaults_it_does_not_name_test() ->
    {ok, #{restart := Restart}} = py_pool_options:check(#{restart => #{max => 1}}),
    ?assertMatch(#{max := 1, within := 10_000, delay := 50, max_delay := 30_000}, Restart).

a_pool_may_be_a_proplist_as_sys_config_likes_it_test() ->
    ?assertMatch({ok, #{size := 2}}, py_pool_options:check([{size, 2}])),
    ?assertMatch({error, {no_map, [size]}}, py_pool_options:check([size])).
