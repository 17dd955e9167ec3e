%%% Grids and matrices, made and taken apart in Erlang.
-module(py_haystack_tests).

-include_lib("eunit/include/eunit.hrl").

grid() ->
    py_haystack:grid(#{dis => <<"Sites">>}, [#{name => <<"id">>, meta => #{}}, "area", dis], [
        [1, 2.5, undefined],
        #{<<"dis">> => <<"b">>, id => 2}
    ]).

a_grid_is_a_tagged_map_test() ->
    ?assertEqual({grid, #{meta => #{}, cols => [a], rows => [[1]]}}, py_haystack:grid([a], [[1]])),
    ?assertEqual(#{dis => <<"Sites">>}, py_haystack:meta(grid())).

names_are_those_of_the_columns_test() ->
    ?assertEqual([<<"id">>, "area", dis], py_haystack:names(grid())).

a_row_has_the_cells_that_are_there_test() ->
    ?assertEqual([#{<<"id">> => 1, "area" => 2.5}, #{<<"id">> => 2, dis => <<"b">>}], py_haystack:rows(grid())).

a_column_is_found_however_its_name_is_written_test_() ->
    [?_assertEqual([2.5, undefined], py_haystack:column(Name, grid())) || Name <- [area, "area", <<"area">>]] ++
        [?_assertError({no_column, none}, py_haystack:column(none, grid()))].

columns_have_all_the_cells_test() ->
    ?assertEqual(
        #{<<"id">> => [1, 2], "area" => [2.5, undefined], dis => [undefined, <<"b">>]},
        py_haystack:to_columns(grid())
    ),
    ?assertEqual(#{a => [], b => []}, py_haystack:to_columns(py_haystack:grid([a, b], []))).

a_matrix_comes_back_as_its_rows_test_() ->
    [
        ?_assertEqual([[float(N) || N <- Row] || Row <- Rows], py_haystack:to_rows(py_haystack:matrix(Rows)))
     || Rows <- [[], [[1, 2, 3], [4, 5.5, -0.25]], [[], []], [[7]]]
    ].

rows_of_several_lengths_are_no_matrix_test() ->
    ?assertError(badarg, py_haystack:matrix([[1], [2, 3]])).

what_is_no_float_in_erlang_is_an_atom_test() ->
    Bits = <<0:48, 16#F0, 16#7F, 0:48, 16#F0, 16#FF, 0:48, 16#F8, 16#7F, 1.5/float-little>>,
    ?assertEqual([[infinity, '-infinity'], [nan, 1.5]], py_haystack:to_rows({matrix, 2, 2, Bits})).
