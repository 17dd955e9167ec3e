%%% Lists of dirty data: each item has an outcome of its own, and a time of its own; results are folded as they come.
-module(py_dirty_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-export([suite/0, all/0, init_per_suite/1, end_per_suite/1]).
-export([
    one_bad_item_costs_no_other/1,
    what_python_can_not_read_is_an_error_of_its_item/1,
    an_item_has_a_time_of_its_own/1,
    a_deadly_item_costs_its_chunk_and_with_retry_itself/1,
    results_are_folded_as_they_come/1,
    a_fold_that_fails_cancels_the_rest/1,
    what_a_list_is_mapped_to_is_reduced_in_python/1,
    the_item_is_shown_with_its_error/1
]).

suite() -> [{timetrap, {minutes, 2}}].

all() -> [Case || {Case, 1} <- ?MODULE:module_info(exports), not lists:member(Case, [suite, init_per_suite, end_per_suite, module_info])].

init_per_suite(Config) ->
    ok = py_application:start([{default, #{size => 2, python_path => [?config(data_dir, Config)], restart => #{max => 100}}}]),
    Config.

end_per_suite(_Config) -> py_application:stop().

one_bad_item_costs_no_other(_Config) ->
    Names = [<<"tea">>, <<"bad">>, <<"exit">>, <<"cyclic">>, <<"lock">>, <<"ab">>],
    [
        begin
            [Tea, Bad, Exit, Cyclic, Lock, Last] = py:pmap(py_dirty, Function, Names, Options#{errors => return}),
            ?assertEqual([{ok, 3}, {ok, 2}], [Tea, Last]),
            ?assertMatch({error, {python, 'builtins.ValueError', "no such column", [{_, _, "rows", _} | _]}}, Bad),
            ?assertMatch({error, {python, 'builtins.SystemExit', "3", _}}, Exit),
            ?assertMatch({error, {py, {encode, _}}}, Cyclic),
            ?assertMatch({ok, {'$py.ref', _, _, _}}, Lock)
        end
     || Function <- [rows, fetched], Options <- [#{}, #{chunk => 6}, #{chunk => 4, strings => binary, none => nil}]
    ],
    ?assertMatch([{ok, {'$py.ref', _, _, _}}, {error, _}], py:pmap(py_dirty, rows, [<<"a">>, <<"bad">>], #{errors => return, return => ref})),
    ?assertEqual([], py:pmap(py_dirty, rows, [], #{errors => return})),
    %% What is wrong with all is raised.
    ?assertError({py, {unknown_pool, nowhere}}, py:pmap(py_dirty, rows, Names, #{errors => return, pool => nowhere})).

what_python_can_not_read_is_an_error_of_its_item(_Config) ->
    [{ok, 1}, {error, {py, {decode, Text}}}, {ok, 2}] = py:pmap(py_dirty, rows, [<<"a">>, <<255>>, <<"ab">>], #{errors => return, chunk => 3}),
    ?assertNotEqual(nomatch, string:find(Text, "item 2 of the list")).

an_item_has_a_time_of_its_own(_Config) ->
    ?assertEqual(
        [{ok, 1}, {error, {py, timeout}}, {ok, 2}],
        py:pmap(py_dirty, rows, [<<"a">>, <<"endless">>, <<"ab">>], #{errors => return, item_timeout => 5_000})
    ),
    ?assertError({py, timeout}, py:pmap(py_dirty, rows, [<<"endless">>], #{item_timeout => 1})).

a_deadly_item_costs_its_chunk_and_with_retry_itself(_Config) ->
    Names = [<<"a">>, <<"deadly">>, <<"ab">>],
    ?assertMatch([{error, {py, {worker_down, _}}}, {error, _}, {error, _}], py:pmap(py_dirty, rows, Names, #{errors => return, chunk => 3})),
    ?assertMatch([{ok, 1}, {error, {py, {worker_down, _}}}, {ok, 2}], py:pmap(py_dirty, rows, Names, #{errors => return, chunk => 3, retry => 1})).

results_are_folded_as_they_come(_Config) ->
    Names = [binary:copy(<<"x">>, N) || N <- lists:seq(1, 200)],
    ?assertEqual(20_100, py:pfold(fun(Rows, Sum) -> Rows + Sum end, 0, py_dirty, rows, Names)),
    Folded = py:pfold(fun(Name, Rows, Acc) -> Acc#{Name => Rows} end, #{}, py_dirty, rows, Names, #{chunk => 7}),
    ?assertEqual(maps:from_list([{Name, byte_size(Name)} || Name <- Names]), Folded),
    Good = py:pfold(
        fun
            (_, {ok, _}, Count) -> Count + 1;
            (Name, {error, _}, Count) -> ?assertEqual(<<"bad">>, Name), Count
        end,
        0, py_dirty, rows, [<<"bad">> | Names], #{errors => return}
    ),
    ?assertEqual(200, Good),
    ?assertError({python, 'builtins.ValueError', _, _}, py:pfold(fun(_, Acc) -> Acc end, 0, py_dirty, rows, [<<"bad">>])),
    ?assertEqual(acc, py:pfold(fun(_, Acc) -> Acc end, acc, py_dirty, rows, [])),
    ?assertError(badarg, py:pfold(fun(Acc) -> Acc end, acc, py_dirty, rows, [])),
    ?assertError(badarg, py:pfold(fun(_, Acc) -> Acc end, acc, py_dirty, rows, [], #{ordered => false})).

a_fold_that_fails_cancels_the_rest(_Config) ->
    ?assertExit(enough, py:pfold(fun(_, _) -> exit(enough) end, 0, py_dirty, rows, [<<"a">>, <<"endless">>], #{chunk => 1})),
    %% Both workers are free again.
    ?assertEqual([{ok, 1}, {ok, 1}], [Outcome || {_, Outcome} <- py:call_all(py_dirty, rows, [<<"a">>], #{timeout => 30_000})]).

what_a_list_is_mapped_to_is_reduced_in_python(_Config) ->
    Names = [binary:copy(<<"x">>, N) || N <- lists:seq(1, 200)],
    ?assertEqual(20_100, py:pmap_reduce(py_dirty, rows, {operator, add}, Names)),
    ?assertEqual(20_105, py:pmap_reduce(py_dirty, rows, {operator, add}, Names, #{initial => 5, chunk => 9})),
    ?assertEqual(6, py:pmap_reduce(operator, neg, mul, [-1, -2, -3])),
    ?assertEqual(5, py:pmap_reduce(py_dirty, rows, {operator, add}, [], #{initial => 5})),
    ?assertError({python, 'builtins.TypeError', _, _}, py:pmap_reduce(py_dirty, rows, {operator, add}, [])),
    ?assertError({python, 'builtins.ValueError', _, _}, py:pmap_reduce(py_dirty, rows, {operator, add}, [<<"bad">>])),
    ?assertError(badarg, py:pmap_reduce(py_dirty, rows, 7, Names)).

the_item_is_shown_with_its_error(_Config) ->
    Shown = fun(Options) ->
        try
            py:pmap(py_dirty, rows, [<<"tea">>, <<"bad">>], Options)
        catch
            error:Reason:Stack -> map_get(general, py_error:format_error(Reason, Stack))
        end
    end,
    Item = <<"argument 3: item 2 is <<\"bad\">>">>,
    ?assertNotEqual(nomatch, string:find(Shown(#{chunk => 2}), Item)),
    ?assertEqual(nomatch, string:find(Shown(#{chunk => 2, show_arguments => none}), Item)).
