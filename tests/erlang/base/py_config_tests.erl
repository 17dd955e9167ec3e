%%% Options: what is taken, what is refused, what is said about it, and the defaults.
-module(py_config_tests).

-include_lib("eunit/include/eunit.hrl").

%% A deadline of OTP's timers.
-define(LONGEST_MS, 16#ffffffff).

%% {option of a call, values that it takes, values that it refuses}.
call_options() ->
    [
        {pool, [default, ml], ["default", <<"default">>, 1]},
        {worker, [self()], [worker, 1]},
        {node, [node()], ["node@host"]},
        {scope, [local, cluster], [node, world, "cluster", true]},
        {timeout, [infinity, 0, 1, ?LONGEST_MS], [-1, 1.5, "1", undefined, ?LONGEST_MS + 1]},
        {strings, [list, binary], [string, "binary", true]},
        {dicts, [tagged, map], [maps, list]},
        {haystack, [true, false], [on, 1]},
        {frames, [grid, columns, arrow], [rows, true]},
        {matrices, [true, false], [numpy]},
        {arrays, [opaque, value, shared], [true, numpy]},
        {binaries, [str, bytes], [binary]},
        {show_arguments, [cut, none, all], [undefined, some, 400]},
        {return, [value, ref], [reference]}
    ].

%% The same for a pool.
pool_options() ->
    [
        {size, [1, 1024], [0, -1, 1025, 1.0, two]},
        {python, [undefined, "/usr/bin/python3", <<"python3">>, {venv, "/srv/ml"}, {venv, <<"/srv/ml">>}], [
            python3, "", {venv, undefined}, {venv, 1}, 3
        ]},
        {python_path, [[], ["a"], [<<"a">>, "b"]], ["a", [undefined], [a], a]},
        {env, [[], [{"A", "b"}], [{"A", false}]], [[{a, "b"}], [{"A", b}], ["A=b"], #{}]},
        {cd, [undefined, "/tmp", <<"/tmp">>], [tmp, 1]},
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
        {event_loop, [asyncio, uvloop], [trio]},
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
        {arrays, [opaque, value, shared], [true, numpy]},
        {pickle, [signed, any], [none]},
        {show_arguments, [undefined, cut, none, all], [some, true]},
        {log_level, [debug, info, warning, error, critical], [notice, 3]}
    ].

%% The same for what only a pool with a sandbox has, of the kind that takes all of them.
sandbox_options() ->
    [
        {sandbox, [bwrap, docker], [true, "bwrap", podman]},
        {io, [undefined, "/srv/io", <<"/srv/io">>], [io, 1]},
        {network, [none, host, "tea"], [bridge, "", "-x", "a b", <<"tea">>]},
        {max_cpu_seconds, [infinity, 1], [0, -1, 1.5, none]},
        {max_processes, [infinity, 8], [7, 0, -1, none]},
        {image, ["tea", "registry:5000/tea/green:1.0"], ["", "--privileged", tea, "a b"]}
    ].

a_good_option_of_a_sandbox_is_taken_test_() ->
    [
        {name(Key, Value), fun() ->
            {ok, Pool} = py_config:pool(maps:merge(#{sandbox => docker}, #{Key => Value})),
            ?assertEqual(Value, map_get(Key, Pool))
        end}
     || {Key, Good, _} <- sandbox_options(), Value <- Good
    ].

a_bad_option_of_a_sandbox_is_named_with_what_it_must_be_test_() ->
    [
        {name(Key, Value),
            ?_assertMatch(
                {error, {bad_option, Key, Value, _}}, py_config:pool(maps:merge(#{sandbox => docker}, #{Key => Value}))
            )}
     || {Key, _, Bad} <- sandbox_options(), Value <- Bad
    ].

an_option_of_a_sandbox_without_one_is_refused_test_() ->
    [
        {name(Key, hd(Good)), ?_assertMatch({error, {bad_option, Key, _, _}}, py_config:pool(#{Key => hd(Good)}))}
     || {Key, Good, _} <- tl(sandbox_options())
    ].

a_sandbox_is_bound_where_nothing_is_said_test() ->
    {ok, Pool} = py_config:pool(#{sandbox => bwrap}),
    ?assertMatch(
        #{callbacks := none, network := none, io := undefined, max_memory := 1_073_741_824, max_processes := 64,
            max_cpu_seconds := infinity},
        Pool
    ),
    ?assertMatch({ok, #{max_memory := infinity}}, py_config:pool(#{sandbox => bwrap, max_memory => infinity})).

what_a_sandbox_has_not_is_refused_test() ->
    ?assertMatch({error, {bad_option, callbacks, all, _}}, py_config:pool(#{sandbox => bwrap, callbacks => all})),
    ?assertMatch({error, {bad_option, arrays, shared, _}}, py_config:pool(#{sandbox => bwrap, arrays => shared})),
    ?assertMatch({ok, #{arrays := value}}, py_config:pool(#{sandbox => bwrap, arrays => value})),
    ?assertMatch({error, {bad_option, network, "tea", _}}, py_config:pool(#{sandbox => bwrap, network => "tea"})).

a_good_option_of_a_call_is_taken_as_it_is_test_() ->
    [
        {name(Key, Value), ?_assertEqual({ok, #{Key => Value}}, py_config:call(#{Key => Value}))}
     || {Key, Good, _} <- call_options(), Value <- Good
    ].

a_bad_option_of_a_call_is_named_with_what_it_must_be_test_() ->
    [
        {name(Key, Value), ?_assertMatch({error, {bad_option, Key, Value, _}}, py_config:call(#{Key => Value}))}
     || {Key, _, Bad} <- call_options(), Value <- Bad
    ].

a_good_option_of_a_pool_is_taken_test_() ->
    [
        {name(Key, Value), fun() ->
            {ok, Pool} = py_config:pool(#{Key => Value}),
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
        {name(Key, Value), ?_assertMatch({error, {bad_option, Key, Shown, _}}, py_config:pool(#{Key => Value}))}
     || {Key, _, Bad} <- pool_options(), Value <- Bad, Shown <- [if Key =:= env; Key =:= on_start -> '...'; true -> Value end]
    ].

what_may_be_secret_is_shown_by_nothing_that_prints_a_pool_test() ->
    {ok, Pool} = py_config:pool(#{env => [{"TOKEN", "s3cr3t"}], on_start => {m, f, [<<"s3cr3t">>]}}),
    ?assertEqual(nomatch, string:find(io_lib:format("~p", [Pool]), "s3cr3t")),
    ?assertEqual([{"TOKEN", "s3cr3t"}], py_secret:reveal(map_get(env, Pool))),
    {error, Problem} = py_config:pool(#{env => [{"TOKEN", <<"s3cr3t">>}]}),
    ?assertEqual(nomatch, string:find(io_lib:format("~p ~ts", [Problem, py_config:describe(Problem)]), "s3cr3t")).

%% Warm workers are given to sessions that have the same options.
pools_with_the_same_secrets_are_equal_test() ->
    ?assertEqual(py_config:pool(#{env => [{"A", "1"}]}), py_config:pool(#{env => [{"A", "1"}]})),
    ?assertNotEqual(py_config:pool(#{env => [{"A", "1"}]}), py_config:pool(#{env => [{"A", "2"}]})).

name(Key, Value) -> lists:flatten(io_lib:format("~tw => ~tw", [Key, Value])).

%% The same for what makes many calls, beside the options of each.
parallel_options() ->
    [
        {[pmap, preduce], chunk, [1, 1 bsl 70], [0, -1, 1.0, auto]},
        {[pmap], ordered, [true, false], [yes, 1]},
        {[pmap, preduce], progress, [true, false, fun erlang:abs/1], [fun erlang:self/0, 1, line]},
        {[pmap, preduce], retry, [0, 1, 100], [-1, infinity, true]},
        {[scatter, pmap, preduce], window, [1, 1_000], [0, 1_001, infinity]},
        {[preduce], initial, [0, undefined, []], []}
    ].

a_good_option_of_many_calls_is_taken_beside_those_of_each_test_() ->
    [
        {name(Key, Value),
            ?_assertMatch({ok, #{pool := ml}, #{Key := Value}}, py_config:parallel(Kind, #{Key => Value, pool => ml}))}
     || {Kinds, Key, Good, _} <- parallel_options(), Kind <- Kinds, Value <- Good
    ].

a_bad_option_of_many_calls_is_named_with_what_it_must_be_test_() ->
    [
        {name(Key, Value), ?_assertMatch({error, {bad_option, Key, Value, _}}, py_config:parallel(Kind, #{Key => Value}))}
     || {Kinds, Key, _, Bad} <- parallel_options(), Kind <- Kinds, Value <- Bad
    ] ++
        [
            {name(Key, hd(Good)),
                ?_assertMatch({error, {unknown_option, Key, _}}, py_config:parallel(Kind, #{Key => hd(Good)}))}
         || {Kinds, Key, Good, _} <- parallel_options(), Kind <- [scatter, pmap, preduce] -- Kinds
        ].

the_defaults_of_many_calls_are_these_test() ->
    ?assertEqual({ok, #{}, #{window => 2}}, py_config:parallel(scatter, #{})),
    Common = #{chunk => undefined, progress => false, retry => 0, window => 2},
    ?assertEqual({ok, #{}, Common#{ordered => true}}, py_config:parallel(pmap, #{})),
    ?assertEqual({ok, #{}, Common}, py_config:parallel(preduce, #{})).

the_options_of_this_file_are_all_there_are_test() ->
    {ok, Pool} = py_config:pool(#{}),
    ?assertEqual(lists:sort(maps:keys(Pool)), lists:sort([Key || {Key, _, _} <- pool_options() ++ sandbox_options()])),
    {error, {unknown_option, zzz, Known}} = py_config:call(#{zzz => 1}),
    ?assertEqual(Known, lists:sort([Key || {Key, _, _} <- call_options()])).

the_defaults_are_these_test() ->
    {ok, Pool} = py_config:pool(#{}),
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

a_restart_option_keeps_the_defaults_it_does_not_name_test() ->
    {ok, #{restart := Restart}} = py_config:pool(#{restart => #{max => 1}}),
    ?assertMatch(#{max := 1, within := 10_000, delay := 50, max_delay := 30_000}, Restart).

a_pool_may_be_a_proplist_as_sys_config_likes_it_test() ->
    ?assertMatch({ok, #{size := 2}}, py_config:pool([{size, 2}])),
    ?assertMatch({error, {no_map, [size]}}, py_config:pool([size])).

options_that_are_no_map_are_refused_test_() ->
    [?_assertEqual({error, {no_map, No}}, py_config:call(No)) || No <- [[], [{timeout, 1}], 5, timeout, undefined]].

an_unknown_option_is_named_with_the_known_ones_test() ->
    {error, Problem} = py_config:call(#{timeuot => 5}),
    Text = text(Problem),
    [?assertNotEqual(nomatch, string:find(Text, Word)) || Word <- ["timeuot", "timeout", "worker", "strings"]].

a_bad_value_is_told_with_what_is_expected_test() ->
    {error, Problem} = py_config:call(#{timeout => -1}),
    ?assertEqual("option timeout must be milliseconds, a non-negative integer, or infinity, not -1", text(Problem)).

options_that_are_no_map_are_told_so_test() ->
    ?assertEqual("options must be a map, not 5", text({no_map, 5})).

text(Problem) -> unicode:characters_to_list(py_config:describe(Problem)).

%% Pools of the application environment.

environment_test_() ->
    {foreach, fun() -> application:get_env(py, pools) end,
        fun
            (undefined) -> application:unset_env(py, pools);
            ({ok, Before}) -> application:set_env(py, pools, Before)
        end,
        [
            {"a pool default exists without any", fun a_pool_default_exists_without_any/0},
            {"pools are a proplist or a map", fun pools_are_a_proplist_or_a_map/0},
            {"a default of one's own is kept", fun a_default_of_ones_own_is_kept/0},
            {"a bad pool is named", fun a_bad_pool_is_named/0}
        ]}.

a_pool_default_exists_without_any() ->
    application:unset_env(py, pools),
    ?assertMatch({ok, #{default := #{size := _}}}, py_config:pools()).

pools_are_a_proplist_or_a_map() ->
    [
        begin
            application:set_env(py, pools, Pools),
            {ok, Checked} = py_config:pools(),
            ?assertEqual([default, ml], lists:sort(maps:keys(Checked))),
            ?assertMatch(#{ml := #{size := 2}}, Checked)
        end
     || Pools <- [[{ml, #{size => 2}}], [{ml, [{size, 2}]}], #{ml => #{size => 2}}]
    ].

a_default_of_ones_own_is_kept() ->
    application:set_env(py, pools, [{default, #{size => 7}}]),
    ?assertMatch({ok, #{default := #{size := 7}}}, py_config:pools()).

a_bad_pool_is_named() ->
    application:set_env(py, pools, [{ml, #{size => 0}}]),
    ?assertMatch({error, {bad_config, ml, {bad_option, size, 0, _}}}, py_config:pools()),
    [
        begin
            application:set_env(py, pools, Bad),
            ?assertMatch({error, {bad_config, pools, {bad_option, pools, _, _}}}, py_config:pools())
        end
     || Bad <- [7, [ml], [{"ml", #{}}]]
    ].

%%% Sessions

with_sessions(Sessions, Fun) ->
    ok = application:set_env(py, sessions, Sessions),
    try
        Fun()
    after
        application:unset_env(py, sessions)
    end.

sessions_have_defaults_test() ->
    {ok, #{warm := 2, max := 100}, Pool} = py_config:sessions(),
    ?assertMatch(#{size := 0, scheduler := none, strings := list, on_start := {'erl.session', prepare, []}}, Pool),
    Self = self(),
    ?assertMatch(
        {ok, #{persistent := false, timeout := 300_000, owner := Self, binaries := str}, Pool}, py_config:session(#{})
    ).

an_option_of_a_session_stands_before_the_applications_test() ->
    with_sessions(#{warm => 0, strings => binary, kill_after => 5}, fun() ->
        {ok, #{warm := 0, max := 100}, Standard} = py_config:sessions(),
        ?assertMatch(#{strings := binary, kill_after := 5}, Standard),
        ?assertMatch({ok, _, Standard}, py_config:session([{persistent, true}])),
        {ok, #{timeout := infinity}, Own} = py_config:session(#{kill_after => 7, timeout => infinity}),
        ?assertEqual(Standard#{kill_after := 7}, Own)
    end).

a_wrong_option_of_a_session_is_refused_test_() ->
    [
        ?_assertMatch({error, {bad_option, Key, Value, _}}, py_config:session(#{Key => Value}))
     || {Key, Values} <- [{persistent, [1]}, {timeout, [-1, soon]}, {owner, [me]}, {binaries, [list]}, {python, [3]}],
        Value <- Values
    ] ++
        [
            ?_assertMatch({error, {unknown_option, Key, _}}, py_config:session(#{Key => 1}))
         || Key <- [warm, max, size, scheduler, max_queue, max_calls, call_timeout, drain_timeout, tea]
        ] ++
        [?_assertEqual({error, {no_map, Options}}, py_config:session(Options)) || Options <- [tea, [tea]]].

a_wrong_configuration_of_sessions_is_refused_test_() ->
    [
        ?_assertMatch(
            {error, {bad_config, sessions, _}}, with_sessions(Sessions, fun() -> py_config:sessions() end)
        )
     || Sessions <- [#{warm => -1}, #{warm => 101}, #{max => 0}, #{max => 901}, #{size => 1}, #{python => 3}, tea, [tea]]
    ].

an_eval_takes_the_options_that_name_no_place_test_() ->
    [?_assertEqual({ok, O}, py_config:session_call(O)) || O <- [#{}, #{timeout => 1}, #{return => ref, dicts => map}]] ++
        [
            ?_assertMatch({error, {unknown_option, Key, _}}, py_config:session_call(#{Key => 1}))
         || Key <- [pool, worker, node, scope, persistent]
        ].
