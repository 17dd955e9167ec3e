%%% Values and exceptions that are odd beyond those of py_faults_SUITE. After each of them the same interpreter answers.
-module(py_hostile_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-export([suite/0, all/0, init_per_testcase/2, end_per_testcase/2]).
-export([
    odd_exceptions_are_told/1,
    an_atom_that_is_too_long_is_refused/1,
    a_cyclic_result_is_refused/1,
    a_failing_reduce_costs_nothing_but_the_pickle/1,
    an_object_that_can_not_be_read_again_is_told/1,
    a_lone_surrogate_arrives_or_is_refused/1,
    odd_text_is_printed/1,
    a_message_that_can_not_be_encoded_is_the_senders_error/1,
    a_closed_stdout_hurts_nobody_else/1
]).

suite() -> [{timetrap, {minutes, 5}}].

all() ->
    [
        odd_exceptions_are_told,
        an_atom_that_is_too_long_is_refused,
        a_cyclic_result_is_refused,
        a_failing_reduce_costs_nothing_but_the_pickle,
        an_object_that_can_not_be_read_again_is_told,
        a_lone_surrogate_arrives_or_is_refused,
        odd_text_is_printed,
        a_message_that_can_not_be_encoded_is_the_senders_error,
        a_closed_stdout_hurts_nobody_else
    ].

init_per_testcase(_, Config) ->
    ok = py_application:start([{default, #{size => 1, python_path => [?config(data_dir, Config)]}}]),
    [#{worker := Worker, os_pid := OsPid}] = py:workers(),
    [{worker, {Worker, OsPid}} | Config].

%% The same worker, the same interpreter, and nothing in the mailbox (`py_application:stop/0' looks into it).
end_per_testcase(_, Config) ->
    {Worker, OsPid} = ?config(worker, Config),
    After = {catch py:add(1, 2), [{W, P} || #{worker := W, os_pid := P} <- py:workers()]},
    case {After, py_application:stop()} of
        {{3, [{Worker, OsPid}]}, Stopped} -> Stopped;
        {Other, _} -> {fail, {another_worker, Other, {Worker, OsPid}}}
    end.

call(Function) -> call(Function, []).

call(Function, Args) -> py:func(py_hostile, Function, Args).

odd_exceptions_are_told(_Config) ->
    ?assertError({python, 'py_hostile.SurrogateError', _, _}, call(raise_surrogate)),
    ?assertError({python, 'builtins.BaseException', "base", _}, call(raise_group)),
    ?assertError({python, 'builtins.KeyboardInterrupt', "", _}, call(raise_interrupt)),
    ?assertError({python, 'builtins.ValueError', "cyclic", [_ | _]}, call(raise_from_itself)),
    ?assertError({python, 'builtins.RecursionError', _, _}, call(raise_deep)),
    ?assertError({python, _, "long name", _}, call(raise_long_name)),
    try call(raise_long) of
        Value -> ct:fail({no_error, Value})
    catch
        error:{python, 'builtins.ValueError', Text, _} -> ?assertEqual(1_000_000, length(Text))
    end.

an_atom_that_is_too_long_is_refused(_Config) ->
    ?assertEqual(list_to_atom(lists:duplicate(255, $a)), call(long_atom, [255])),
    %% Made or sent, it is an error that says so.
    try call(long_atom, [256]) of
        Value -> ct:fail({no_error, Value})
    catch
        error:{py, {encode, _}} -> ok;
        error:{python, 'builtins.ValueError', _, _} -> ok
    end.

a_cyclic_result_is_refused(_Config) ->
    [
        try call(Function) of
            Value -> ct:fail({no_error, Value})
        catch
            error:{py, {encode, Text}} -> ?assertNotEqual(nomatch, string:find(Text, "cycl"), Text)
        end
     || Function <- [cyclic_list, cyclic_dict, cyclic_tagged]
    ].

a_failing_reduce_costs_nothing_but_the_pickle(_Config) ->
    %% What does not pickle stays where it is.
    Kept = call(make, [<<"FailingReduce">>]),
    ?assertMatch({'$py.ref', _, _, _}, Kept),
    ?assertEqual('FailingReduce', py:ptype(Kept)),
    %% No end in the middle of pickling, which makes no pickle; and an exit.
    Endless = call(make, [<<"EndlessReduce">>]),
    ?assertEqual('EndlessReduce', py:ptype(Endless)),
    ok = py:release(Endless),
    Exiting = call(make, [<<"ExitingReduce">>]),
    ?assertEqual('ExitingReduce', py:ptype(Exiting)),
    ok = py:release(Exiting).

an_object_that_can_not_be_read_again_is_told(_Config) ->
    Unreadable = call(make, [<<"Unreadable">>]),
    try py:ptype(Unreadable) of
        Value -> ct:fail({no_error, Value})
    catch
        error:{py, {decode, Text}} -> ?assertNotEqual(nomatch, string:find(Text, "can't be read"), Text)
    end.

a_lone_surrogate_arrives_or_is_refused(_Config) ->
    %% As a list it is a list of integers like any other; as a binary it would be no UTF-8.
    ?assertEqual([16#d800], call(lone_surrogate)),
    ?assertError({py, {encode, _}}, py:func(py_hostile, lone_surrogate, [], #{strings => binary})).

odd_text_is_printed(_Config) ->
    {undefined, Leader} = py_output:of_call(fun() -> call(print_odd) end),
    py_eventually:equals("lone \\ud800, zero \0, end\n", fun() -> py_output:text(Leader) end),
    py_output:stop(Leader).

a_message_that_can_not_be_encoded_is_the_senders_error(_Config) ->
    ?assertError({py, {encode, _}}, call(cast_unencodable, [self()])).

a_closed_stdout_hurts_nobody_else(_Config) ->
    ?assertEqual(undefined, call(close_stdout)),
    ?assertEqual(3, py:add(1, 2)).
