%%% Values and exceptions that have killed or hung bridges. After each of them the same interpreter answers.
-module(py_hostile_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-export([suite/0, all/0, init_per_testcase/2, end_per_testcase/2]).
-export([
    nan_and_the_infinities_are_atoms/1,
    a_junk_pickle_is_refused/1,
    an_exception_whose_text_can_not_be_had_is_told_all_the_same/1,
    odd_exceptions_are_told/1,
    an_atom_beyond_latin1_goes_both_ways/1,
    an_atom_that_is_too_long_is_refused/1,
    a_deep_argument_is_refused/1,
    a_deep_result_is_refused/1,
    depths_within_the_limit_go_both_ways/1,
    a_cyclic_result_is_refused/1,
    a_result_that_can_not_be_pickled_stays_in_python/1,
    a_failing_reduce_is_told/1,
    an_object_that_can_not_be_read_again_is_told/1,
    a_lone_surrogate_arrives_or_is_refused/1,
    ten_megabytes_are_printed/1,
    odd_text_is_printed/1,
    a_message_that_can_not_be_encoded_is_the_senders_error/1,
    a_closed_stdout_hurts_nobody_else/1
]).

suite() -> [{timetrap, {minutes, 1}}].

all() ->
    [
        nan_and_the_infinities_are_atoms,
        a_junk_pickle_is_refused,
        an_exception_whose_text_can_not_be_had_is_told_all_the_same,
        odd_exceptions_are_told,
        an_atom_beyond_latin1_goes_both_ways,
        an_atom_that_is_too_long_is_refused,
        a_deep_argument_is_refused,
        a_deep_result_is_refused,
        depths_within_the_limit_go_both_ways,
        a_cyclic_result_is_refused,
        a_result_that_can_not_be_pickled_stays_in_python,
        a_failing_reduce_is_told,
        an_object_that_can_not_be_read_again_is_told,
        a_lone_surrogate_arrives_or_is_refused,
        ten_megabytes_are_printed,
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

nan_and_the_infinities_are_atoms(_Config) ->
    ?assertEqual(nan, py:float(<<"nan">>)),
    ?assertEqual(infinity, py:float(<<"inf">>)),
    ?assertEqual('-infinity', py:float(<<"-inf">>)),
    ?assertEqual([nan, {infinity}], py:pylist([py:float(<<"nan">>), {py:float(<<"inf">>)}])),
    ?assertEqual({"dict", [{"a", nan}]}, py:func(json, loads, [<<"{\"a\": NaN}">>])).

a_junk_pickle_is_refused(_Config) ->
    [
        ?assertError({py, {decode, _}}, py:len(Given), Junk)
     || Junk <- [<<>>, <<"junk">>, <<128>>, <<128, 5, 46>>, binary:copy(<<0>>, 100), crypto:strong_rand_bytes(1_000)],
        Opaque <- [{'$erlport.opaque', python, Junk}],
        Given <- [Opaque, [Opaque], #{1 => Opaque}]
    ].

an_exception_whose_text_can_not_be_had_is_told_all_the_same(_Config) ->
    ?assertError({python, 'py_hostile.Mute', [_ | _], [_ | _]}, call(raise_mute)),
    %% A value without a text is no trouble as long as nobody asks for it.
    NoText = call(make, [<<"NoText">>]),
    ?assertError({python, 'builtins.RuntimeError', "no text", _}, py:str(NoText)),
    ?assertError({python, 'builtins.RuntimeError', "no text", _}, py:prepr(NoText)).

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

an_atom_beyond_latin1_goes_both_ways(_Config) ->
    ?assertEqual('ключ', call(utf8_atom)),
    ?assertEqual([{'ключ', 'ÿ', '🐍'}], py:pylist([{'ключ', 'ÿ', '🐍'}])),
    Longest = list_to_atom(lists:duplicate(255, 1082)),
    ?assertEqual([Longest], py:pylist([Longest])).

an_atom_that_is_too_long_is_refused(_Config) ->
    ?assertEqual(list_to_atom(lists:duplicate(255, $a)), call(long_atom, [255])),
    %% Made or sent, it is an error that says so.
    try call(long_atom, [256]) of
        Value -> ct:fail({no_error, Value})
    catch
        error:{py, {encode, _}} -> ok;
        error:{python, 'builtins.ValueError', _, _} -> ok
    end.

nested(Depth, Wrap, Value) -> lists:foldl(fun(_, Acc) -> Wrap(Acc) end, Value, lists:seq(1, Depth)).

a_deep_argument_is_refused(_Config) ->
    [
        ?assertError({py, {decode, _}}, call(depth, [nested(Depth, Wrap, Value)]), {Depth, Value})
     || Depth <- [1_100, 100_000], {Wrap, Value} <- deep_shapes()
    ].

deep_shapes() ->
    [
        {fun(X) -> [X] end, []},
        {fun(X) -> {X} end, {}},
        {fun(X) -> #{1 => X} end, #{}},
        {fun(X) -> {"dict", [{1, X}]} end, 1},
        {fun(X) -> {"set", [X]} end, 1},
        {fun(X) -> {"date", X} end, 1},
        {fun(X) -> [a | {X}] end, 1}
    ].

a_deep_result_is_refused(_Config) ->
    [
        ?assertError({py, {encode, _}}, call(Function, [Depth]), {Function, Depth})
     || Function <- [nested_list, nested_tuple, nested_dict], Depth <- [1_100, 100_000]
    ].

depths_within_the_limit_go_both_ways(_Config) ->
    List = nested(900, fun(X) -> [X] end, []),
    ?assertEqual(900, call(depth, [List])),
    ?assertEqual(List, call(nested_list, [900])),
    ?assertEqual([List], py:pylist([List])).

a_cyclic_result_is_refused(_Config) ->
    [
        try call(Function) of
            Value -> ct:fail({no_error, Value})
        catch
            error:{py, {encode, Text}} -> ?assertNotEqual(nomatch, string:find(Text, "cycl"), Text)
        end
     || Function <- [cyclic_list, cyclic_dict, cyclic_tagged]
    ].

a_result_that_can_not_be_pickled_stays_in_python(_Config) ->
    [
        ?assert(py_term:is_ref(call(Function)))
     || Function <- [unpicklable, frame]
    ].

a_failing_reduce_is_told(_Config) ->
    [
        try call(make, [Class]) of
            Value -> ct:fail({no_error, Value})
        catch
            error:{py, {encode, Text}} ->
                ?assertNotEqual(nomatch, string:find(Text, binary_to_list(Class)), Text)
        end
     || Class <- [<<"FailingReduce">>]
    ],
    %% It can be asked to stay where it is.
    Kept = py:func(py_hostile, make, [<<"FailingReduce">>], #{return => ref}),
    ?assertEqual('FailingReduce', py:ptype(Kept)),
    %% No end, and an exit, in the middle of pickling.
    [
        ?assert(element(1, failed(fun() -> call(make, [Class]) end)) =:= error, Class)
     || Class <- [<<"EndlessReduce">>, <<"ExitingReduce">>]
    ].

failed(Fun) ->
    try Fun() of
        Value -> {value, Value}
    catch
        error:{py, {encode, _}} -> {error, encode};
        error:{python, Class, _, _} -> {error, Class}
    end.

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

ten_megabytes_are_printed(_Config) ->
    Size = 10_000_000,
    {undefined, Leader} = py_output:of_call(fun() -> call(print_much, [Size]) end),
    py_eventually:equals(Size + 1, fun() -> length(py_output:text(Leader)) end),
    py_output:stop(Leader),
    {undefined, Lines} = py_output:of_call(fun() -> call(print_lines, [10_000]) end),
    Expected = lists:append([integer_to_list(N) ++ "\n" || N <- lists:seq(0, 9_999)]),
    py_eventually:equals(Expected, fun() -> py_output:text(Lines) end),
    py_output:stop(Lines).

odd_text_is_printed(_Config) ->
    {undefined, Leader} = py_output:of_call(fun() -> call(print_odd) end),
    py_eventually:equals("lone \\ud800, zero \0, end\n", fun() -> py_output:text(Leader) end),
    py_output:stop(Leader).

a_message_that_can_not_be_encoded_is_the_senders_error(_Config) ->
    ?assertError({py, {encode, _}}, call(cast_unencodable, [self()])).

a_closed_stdout_hurts_nobody_else(_Config) ->
    ?assertEqual(undefined, call(close_stdout)),
    ?assertEqual(3, py:add(1, 2)).
