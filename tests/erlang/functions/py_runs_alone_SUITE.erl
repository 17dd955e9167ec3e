%%% Runs that have a Python of their own, for their variables, secrets and limits; and what a run leaves in the Python that others share.
-module(py_runs_alone_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-export([suite/0, all/0, init_per_testcase/2, end_per_testcase/2]).
-export([
    variables_are_an_attempt_s_alone/1,
    a_secret_is_given_and_written_nowhere/1,
    a_secret_that_others_may_read_is_not_used/1,
    memory_beyond_its_limit_is_a_memory_error/1,
    processors_are_limited/1,
    a_pool_with_threads_is_refused/1,
    options_that_can_t_be_are_refused/1,
    what_is_called_can_be_asked/1,
    one_run_is_forgotten/1,
    builtins_and_streams_come_back/1,
    a_thread_that_is_left_writes_into_no_other_log/1
]).

suite() -> [{timetrap, {minutes, 2}}].

all() ->
    [
        variables_are_an_attempt_s_alone,
        a_secret_is_given_and_written_nowhere,
        a_secret_that_others_may_read_is_not_used,
        memory_beyond_its_limit_is_a_memory_error,
        processors_are_limited,
        a_pool_with_threads_is_refused,
        options_that_can_t_be_are_refused,
        what_is_called_can_be_asked,
        one_run_is_forgotten,
        builtins_and_streams_come_back,
        a_thread_that_is_left_writes_into_no_other_log
    ].

init_per_testcase(Case, Config) ->
    Directory = filename:join(?config(priv_dir, Config), atom_to_list(Case)),
    _ = application:load(py),
    application:set_env(py, state_dir, Directory),
    ok = py_application:start([{default, #{size => 1, python_path => [?config(data_dir, Config)]}}]),
    [{state_dir, Directory} | Config].

end_per_testcase(_, _Config) ->
    Stopped = py_application:stop(),
    application:unset_env(py, state_dir),
    Stopped.

run(Function, Args, Options) ->
    {ok, Run} = py_run:start(alone_jobs, Function, Args, Options#{strings => binary}),
    {ok, #{state := State}} = py_run:wait(Run, 60_000),
    {State, py_run:result(Run), Run}.

secret(Name, Value, Mode, Config) ->
    Directory = filename:join(?config(state_dir, Config), "secrets"),
    ok = filelib:ensure_path(Directory),
    File = filename:join(Directory, Name),
    ok = file:write_file(File, Value),
    ok = file:change_mode(File, Mode).

variables_are_an_attempt_s_alone(_Config) ->
    {'COMPLETED', {ok, Before}, _} = run(pid, [], #{}),
    {'COMPLETED', {ok, <<"green, ", 195, 164>>}, _} = run(variable, [<<"TEA">>], #{env => [{<<"TEA">>, <<"black">>}, {<<"TEA">>, <<"green, ", 195, 164>>}]}),
    %% Neither who comes next, as a run or as a call, has them, nor has it that Python.
    {'COMPLETED', {ok, undefined}, _} = run(variable, [<<"TEA">>], #{}),
    undefined = py:func(alone_jobs, variable, [<<"TEA">>]),
    {'COMPLETED', {ok, After}, _} = run(pid, [], #{}),
    ?assertNotEqual(Before, After),
    %% One after it has no need for another one.
    {'COMPLETED', {ok, After}, _} = run(pid, [], #{}),
    {'COMPLETED', {ok, Alone}, _} = run(pid, [], #{env => [{<<"A">>, <<>>}]}),
    ?assertNotEqual(After, Alone).

a_secret_is_given_and_written_nowhere(Config) ->
    ok = secret("TOKEN", <<"oolong-27\n">>, 8#600, Config),
    {'COMPLETED', {ok, 9}, Run} = run(tells, [<<"TOKEN">>], #{secrets => [<<"TOKEN">>]}),
    ?assertEqual({ok, <<"it is ***\n">>}, py_run:logs(Run)),
    {'ERROR', {error, {python, 'builtins.ValueError', "refused: ***", _}}, Failed} = run(raises_with, [<<"TOKEN">>], #{secrets => [<<"TOKEN">>]}),
    {ok, #{message := <<"builtins.ValueError: refused: ***">>}} = py_run:get(Failed),
    {ok, Log} = py_run:logs(Failed),
    ?assertNotEqual(nomatch, binary:match(Log, <<"raise ValueError">>)),
    {ok, stopped} = py:stop(),
    Kept = filelib:fold_files(?config(state_dir, Config), ".*", true, fun(File, Acc) -> {ok, Bytes} = file:read_file(File), [{File, Bytes} | Acc] end, []),
    ?assertMatch([_], [File || {File, Bytes} <- Kept, binary:match(Bytes, <<"oolong-27">>) =/= nomatch]).

a_secret_that_others_may_read_is_not_used(Config) ->
    ok = secret("TOKEN", <<"oolong">>, 8#640, Config),
    {'ERROR', {error, {py, {run, Text}}}, _} = run(tells, [<<"TOKEN">>], #{secrets => [<<"TOKEN">>]}),
    ?assertNotEqual(nomatch, string:find(Text, "chmod 600")),
    {'ERROR', {error, {py, {run, Missing}}}, _} = run(tells, [<<"NO">>], #{secrets => [<<"NO">>]}),
    ?assertNotEqual(nomatch, string:find(Missing, "the secret NO")),
    %% The worker is there for others.
    {'COMPLETED', {ok, _}, _} = run(pid, [], #{}).

memory_beyond_its_limit_is_a_memory_error(_Config) ->
    {'ERROR', {error, {python, 'builtins.MemoryError', _, [{_, _, _, Source} | _]}}, Run} = run(grows, [], #{limits => #{memory => 200 bsl 20}}),
    ?assertNotEqual(nomatch, string:find(Source, "bytes(1 << 20)")),
    {ok, Log} = py_run:logs(Run),
    ?assertNotEqual(nomatch, binary:match(Log, <<"MemoryError">>)),
    %% The next one has none.
    {'COMPLETED', {ok, 600}, _} = run(grows, [], #{}).

processors_are_limited(_Config) ->
    {'COMPLETED', {ok, {1, <<"1">>}}, _} = run(processors, [], #{limits => #{cpus => 0.5}}).

a_pool_with_threads_is_refused(Config) ->
    {ok, _} = py:start_pool(threads, #{size => 1, threads => 2, python_path => [?config(data_dir, Config)]}),
    {'ERROR', {error, {py, {run, Text}}}, _} = run(pid, [], #{pool => threads, env => [{<<"A">>, <<"1">>}]}),
    ?assertNotEqual(nomatch, string:find(Text, "threads")),
    {'COMPLETED', {ok, _}, _} = run(pid, [], #{pool => threads}),
    ok = py:stop_pool(threads).

options_that_can_t_be_are_refused(_Config) ->
    [
        ?assertError(badarg, py_run:start(alone_jobs, pid, [], Options))
     || Options <- [
            #{env => [{<<"A=B">>, <<"1">>}]}, #{env => [{<<"A">>, <<0>>}]}, #{env => [{<<>>, <<"1">>}]}, #{env => [{"A", "1"}]}, #{env => #{}},
            #{secrets => [<<"..">>]}, #{secrets => [<<"a/b">>]}, #{secrets => [<<>>]}, #{secrets => [token]},
            #{limits => #{memory => 1}}, #{limits => #{cpus => 0}}, #{limits => #{gpus => 1}}, #{limits => []}, #{strings => yes}
        ]
    ].

what_is_called_can_be_asked(_Config) ->
    Large = binary:copy(<<"x">>, 300_000),
    {'COMPLETED', _, Small} = run(variable, [<<"TEA">>], #{}),
    ?assertEqual({ok, {alone_jobs, variable, [<<"TEA">>], []}}, py_run:call(Small)),
    {ok, Run} = py_run:start(builtins, dict, [], #{keywords => [{a, {bytes, Large}}]}),
    {ok, _} = py_run:wait(Run),
    ?assertEqual({ok, {builtins, dict, [], [{<<"a">>, {bytes, Large}}]}}, py_run:call(Run)),
    ?assertMatch({error, {py, {unknown_run, _}}}, py_run:call(<<"none">>)).

one_run_is_forgotten(_Config) ->
    {'COMPLETED', _, Run} = run(pid, [], #{}),
    {'COMPLETED', _, Other} = run(pid, [], #{}),
    ok = py_run:delete(Run),
    ?assertMatch([#{id := Other}], py_run:list()),
    ?assertMatch({error, {py, {unknown_run, Run}}}, py_run:delete(Run)),
    {ok, Waiting} = py_run:start(alone_jobs, pid, [], #{pool => no_pool}),
    ?assertEqual({error, {py, {run_state, 'PENDING'}}}, py_run:delete(Waiting)).

builtins_and_streams_come_back(_Config) ->
    Directory = py:func(alone_jobs, directory, []),
    {'COMPLETED', {ok, OsPid}, _} = run(spoils, [], #{}),
    Directory = py:func(alone_jobs, directory, []),
    {'COMPLETED', {ok, OsPid}, Run} = run(prints, [<<"fine">>], #{}),
    ?assertEqual({ok, <<"fine\n">>}, py_run:logs(Run)),
    %% A call that is no run prints as ever, and has `len'.
    2 = py:func(builtins, len, [[1, 2]]),
    OsPid = py:func(alone_jobs, prints, [<<>>]).

a_thread_that_is_left_writes_into_no_other_log(_Config) ->
    {'COMPLETED', {ok, OsPid}, _} = run(leaves_a_thread, [], #{}),
    {'COMPLETED', {ok, OsPid}, Run} = run(ends_the_thread, [], #{}),
    ?assertEqual({ok, <<"alone\n">>}, py_run:logs(Run)).
