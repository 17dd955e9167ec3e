%%% Stored functions, run from Erlang by their keys.
-module(py_function_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-export([suite/0, all/0, init_per_suite/1, end_per_suite/1]).
-export([
    a_function_is_run_by_its_key/1,
    what_is_no_result_is_an_entity_of_the_project/1,
    what_it_raises_is_the_run_s_error/1,
    options_are_those_of_runs/1,
    keys_and_options_that_can_t_be_are_refused/1,
    a_run_of_something_else_has_no_results/1,
    the_functions_of_a_project_are_listed/1,
    a_run_is_known_after_a_restart/1
]).

suite() -> [{timetrap, {minutes, 2}}].

all() ->
    [
        a_function_is_run_by_its_key,
        what_is_no_result_is_an_entity_of_the_project,
        what_it_raises_is_the_run_s_error,
        options_are_those_of_runs,
        keys_and_options_that_can_t_be_are_refused,
        a_run_of_something_else_has_no_results,
        the_functions_of_a_project_are_listed,
        a_run_is_known_after_a_restart
    ].

init_per_suite(Config) ->
    _ = application:load(py),
    application:set_env(py, state_dir, filename:join(?config(priv_dir, Config), "state")),
    started(Config),
    {ok, Code} = file:read_file(filename:join(?config(data_dir, Config), "function_source.py")),
    Keys = [{Name, py:func(function_source, made, [<<"demo">>, Code, atom_to_binary(Name)])} || Name <- [add, thing, fails]],
    Keys ++ Config.

started(Config) -> ok = py_application:start([{default, #{size => 1, python_path => [?config(data_dir, Config)]}}]).

end_per_suite(_Config) ->
    Stopped = py_application:stop(),
    application:unset_env(py, state_dir),
    Stopped.

a_function_is_run_by_its_key(Config) ->
    Key = ?config(add, Config),
    {ok, Run} = py_function:start(Key, #{parameters => #{one => 5, <<"other">> => 6}}),
    {ok, #{state := 'COMPLETED', project := <<"demo">>, function := <<"add">>}} = py_function:wait(Run),
    ?assertEqual({ok, #{<<"sum">> => 11, <<"text">> => <<"5 and 6">>}}, py_function:results(Run)),
    ?assertEqual({ok, #{}}, py_function:outputs(Run)),
    ?assertEqual({ok, []}, py_function:warnings(Run)),
    ?assertEqual({ok, <<"adds\n">>}, py_function:logs(Run)),
    ?assertMatch([#{id := Run} | _], py_run:list(#{project => demo, function => add})),
    %% Without an id the latest version is meant.
    [Name, _] = binary:split(Key, <<":">>, [{scope, {6, byte_size(Key) - 6}}]),
    ?assertEqual({ok, #{<<"sum">> => 3, <<"text">> => <<"1 and 2">>}}, py_function:run(Name, #{parameters => #{one => 1}})).

what_is_no_result_is_an_entity_of_the_project(Config) ->
    {ok, Run} = py_function:start(?config(thing, Config)),
    {ok, #{state := 'COMPLETED'}} = py_function:wait(Run),
    ?assertEqual({ok, #{<<"output_1">> => #{<<"a">> => [1, undefined]}}}, py_function:results(Run)),
    {ok, #{<<"output_0">> := Key}} = py_function:outputs(Run),
    ?assertMatch(<<"store://demo/artifact/artifact/output-0:", _/binary>>, Key).

what_it_raises_is_the_run_s_error(Config) ->
    ?assertMatch({error, {python, 'builtins.ValueError', "no tea", _}}, py_function:run(?config(fails, Config))),
    ?assertMatch({error, {python, 'builtins.TypeError', _, _}}, py_function:run(?config(add, Config))),
    {ok, Run} = py_function:start(?config(fails, Config)),
    {ok, #{state := 'ERROR', message := <<"builtins.ValueError: no tea">>}} = py_function:wait(Run),
    ok = py_function:retry(Run),
    {ok, #{state := 'ERROR', attempt := 2}} = py_function:wait(Run).

options_are_those_of_runs(Config) ->
    Options = #{parameters => #{one => 1}, key => {order, 1}, env => [{<<"A">>, <<"1">>}], retries => 1, timeout => 60_000},
    {ok, Run} = py_function:start(?config(add, Config), Options),
    ?assertEqual({ok, Run}, py_function:start(?config(add, Config), Options)),
    {ok, #{state := 'COMPLETED', retries := 1}} = py_function:wait(Run).

keys_and_options_that_can_t_be_are_refused(Config) ->
    ?assertMatch({error, {python, 'erl.errors.UnknownEntityError', _, _}}, py_function:start(<<"store://demo/function/python/none">>)),
    ?assertMatch({error, {python, 'erl.errors.EntityError', _, _}}, py_function:start(<<"none">>)),
    ?assertError(badarg, py_function:start(none)),
    ?assertError(badarg, py_function:start(?config(add, Config), [])),
    ?assertError(badarg, py_function:start(?config(add, Config), #{parameters => [{one, 1}]})),
    ?assertError(badarg, py_function:start(?config(add, Config), #{parametres => #{}})).

a_run_of_something_else_has_no_results(_Config) ->
    {ok, Run} = py_run:start(math, sqrt, [4]),
    {ok, _} = py_run:wait(Run),
    ?assertMatch({error, {py, {run, _}}}, py_function:results(Run)),
    ?assertMatch({error, {py, {run, _}}}, py_function:said(Run)),
    ?assertMatch({error, {py, {unknown_run, _}}}, py_function:results(<<"none">>)).

the_functions_of_a_project_are_listed(Config) ->
    ?assertEqual(lists:sort([?config(Name, Config) || Name <- [add, thing, fails]]), lists:sort(py_function:list(<<"demo">>))),
    ?assertEqual([], py_function:list(<<"none">>)).

a_run_is_known_after_a_restart(Config) ->
    {ok, Run} = py_function:start(?config(thing, Config)),
    {ok, #{state := 'COMPLETED'}} = py_function:wait(Run),
    {ok, Outputs} = py_function:outputs(Run),
    {ok, stopped} = py:stop(),
    started(Config),
    ?assertEqual({ok, Outputs}, py_function:outputs(Run)),
    ?assertMatch({ok, #{}}, py_function:run(?config(add, Config), #{parameters => #{one => 1}})).
