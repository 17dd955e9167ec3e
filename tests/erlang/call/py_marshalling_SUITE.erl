%%% The kinds of Project Haystack, grids, frames and arrays, both ways with a real Python (`docs/haystack.md').
-module(py_marshalling_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-export([suite/0, all/0, init_per_testcase/2, end_per_testcase/2]).
-export([
    each_value_arrives_as_documented/1,
    each_value_arrives_the_same_at_every_depth/1,
    each_term_becomes_the_documented_value/1,
    each_term_becomes_the_same_value_at_every_depth/1,
    what_came_from_python_goes_back_as_it_was/1,
    a_term_of_the_users_stays_a_tuple_without_the_option/1,
    a_tuple_that_does_not_fit_stays_a_tuple/1,
    texts_are_strings_without_the_option_for_binaries/1,
    a_pool_has_the_option_as_its_default/1,
    a_grid_is_made_and_read_in_erlang/1,
    an_array_comes_back_exact/1,
    an_array_of_objects_is_an_opaque/1,
    an_array_whose_size_is_wrong_stays_a_tuple/1,
    a_matrix_goes_both_ways/1,
    a_frame_is_a_grid/1,
    a_frame_of_polars_is_a_grid/1,
    a_frame_is_columns/1,
    a_frame_is_an_arrow_stream/1,
    two_columns_of_one_name_are_refused_and_the_worker_lives/1
]).

suite() -> [{timetrap, {minutes, 5}}].

all() -> [Case || {Case, 1} <- ?MODULE:module_info(exports), Case =/= module_info].

init_per_testcase(Case, Config) ->
    ok = py_application:start([{default, pool(Config)}]),
    case [Library || Library <- needs(Case), not py:func(py_marshalling, has, [atom_to_binary(Library)])] of
        [] ->
            Config;
        Missing ->
            py_application:stop(),
            {skip, lists:flatten(io_lib:format("not installed in the interpreter under test: ~p", [Missing]))}
    end.

end_per_testcase(_, _Config) -> py_application:stop().

needs(an_array_comes_back_exact) -> [numpy];
needs(an_array_of_objects_is_an_opaque) -> [numpy];
needs(an_array_whose_size_is_wrong_stays_a_tuple) -> [numpy];
needs(a_matrix_goes_both_ways) -> [numpy];
needs(a_frame_is_a_grid) -> [pandas];
needs(a_frame_of_polars_is_a_grid) -> [polars];
needs(a_frame_is_columns) -> [pandas];
needs(a_frame_is_an_arrow_stream) -> [pandas, pyarrow];
needs(two_columns_of_one_name_are_refused_and_the_worker_lives) -> [pandas];
needs(_) -> [].

pool(Config) -> #{size => 1, python_path => [?config(data_dir, Config)]}.

-define(ON, #{haystack => true, strings => binary, dicts => map}).

%%% The table

%% {Python expression, its term, what to write for that value}. `same': what arrives is what to write.
values() ->
    [
        {<<"None">>, undefined, same},
        {<<"Marker()">>, {py, marker}, same},
        {<<"NA()">>, {py, na}, same},
        {<<"Remove()">>, {py, remove}, same},
        {<<"True">>, true, same},
        {<<"2**100">>, 1 bsl 100, same},
        {<<"1.5">>, 1.5, same},
        {<<"float('nan')">>, nan, same},
        {<<"float('-inf')">>, '-infinity', same},
        {<<"Number(21, '°C')"/utf8>>, {number, 21, <<"°C"/utf8>>}, same},
        {<<"Number(21, '°C')"/utf8>>, {number, 21, <<"°C"/utf8>>}, {number, 21, "°C"}},
        {<<"Number(2**100, 'kWh')">>, {number, 1 bsl 100, <<"kWh">>}, same},
        {<<"Number(float('inf'), 'kW')">>, {number, infinity, <<"kW">>}, same},
        {<<"Ref('p:demo:r:1')">>, {ref, <<"p:demo:r:1">>, undefined}, same},
        {<<"Ref('a', 'Site')">>, {ref, <<"a">>, <<"Site">>}, {ref, "a", "Site"}},
        {<<"'text'">>, <<"text">>, same},
        {<<"Uri('http://localhost/')">>, {uri, <<"http://localhost/">>}, same},
        {<<"Coord(37.5, -77)">>, {coord, 37.5, -77.0}, {coord, 37.5, -77}},
        {<<"datetime.date(2024, 2, 29)">>, {"date", {2024, 2, 29}}, same},
        {<<"datetime.time(23, 59)">>, {"time", {23, 59, 0, 0, undefined}}, same},
        {<<"datetime.datetime(2024, 7, 1, 12, tzinfo=zoneinfo.ZoneInfo('Europe/Paris'))">>,
            {"datetime", {2024, 7, 1, 12, 0, 0, 0, {"zoneinfo", "Europe/Paris"}}}, same},
        {<<"Timestamp(1577836800000000001, datetime.timezone.utc)">>,
            {timestamp, 1577836800000000001, {"timezone", 0}}, same},
        {<<"b'\\xff'">>, <<255>>, {bytes, <<255>>}},
        {<<"{'area': Number(5, 'm'), 'site': Marker()}">>, #{<<"site">> => {py, marker}, <<"area">> => {number, 5, <<"m">>}},
            same},
        {<<"[Marker(), [1]]">>, [{py, marker}, [1]], same},
        {<<"Grid()">>, {grid, #{meta => #{}, cols => [], rows => []}}, same},
        {<<"Grid(['a', ('b', {'x': NA()})], [[1, 'x'], [2]  + [None]], {'dis': 'Table'})">>,
            {grid, #{
                meta => #{<<"dis">> => <<"Table">>},
                cols => [
                    #{name => <<"a">>, meta => #{}}, #{name => <<"b">>, meta => #{<<"x">> => {py, na}}}
                ],
                rows => [[1, <<"x">>], [2, undefined]]
            }},
            same},
        {<<"Grid(['a', 'b'], [[1, 'x'], [None, 2]])">>,
            {grid, #{
                meta => #{},
                cols => [#{name => <<"a">>, meta => #{}}, #{name => <<"b">>, meta => #{}}],
                rows => [[1, <<"x">>], [undefined, 2]]
            }},
            {grid, #{
                meta => {"dict", []}, cols => ["a", <<"b">>], rows => [[1, <<"x">>], #{<<"b">> => 2}]
            }}}
    ].

%% The four places that `py_marshalling:wrapped' and `py_marshalling:all_same' know.
places(Term) ->
    Col = #{name => <<"a">>, meta => #{}},
    [
        [Term],
        {Term},
        #{<<"key">> => Term},
        {grid, #{meta => #{<<"m">> => Term}, cols => [Col], rows => [[Term]]}}
    ].

each_value_arrives_as_documented(_Config) ->
    each(fun(Expression, Term, _) -> {Term, py:func(py_marshalling, make, [Expression], ?ON)} end).

each_value_arrives_the_same_at_every_depth(_Config) ->
    each(fun(Expression, Term, _) -> {places(Term), py:func(py_marshalling, wrapped, [Expression], ?ON)} end).

each_term_becomes_the_documented_value(_Config) ->
    each(fun(Expression, Term, Written) ->
        {true, py:func(py_marshalling, same, [Expression, written(Term, Written)], ?ON)}
    end).

each_term_becomes_the_same_value_at_every_depth(_Config) ->
    each(fun(Expression, Term, Written) ->
        {true, py:func(py_marshalling, all_same, [Expression, places(written(Term, Written))], ?ON)}
    end).

what_came_from_python_goes_back_as_it_was(_Config) ->
    each(fun(Expression, _, Written) ->
        case Written of
            {bytes, _} ->
                {same, same};
            _ ->
                Made = py:func(py_marshalling, make, [Expression], ?ON),
                {true, py:func(py_marshalling, same, [Expression, Made], ?ON)}
        end
    end).

written(Term, same) -> Term;
written(_, Written) -> Written.

each(Check) ->
    Wrong = [
        {Expression, Got, Expected}
     || {Expression, Term, Written} <- values(),
        {Expected, Got} <- [Check(Expression, Term, Written)],
        Expected =/= Got
    ],
    ?assertEqual([], Wrong).

%%% What is no form

a_term_of_the_users_stays_a_tuple_without_the_option(_Config) ->
    [
        begin
            ?assertEqual("tuple", py:func(py_marshalling, type_name, [Term])),
            ?assertEqual(Term, py:func(copy, copy, [Term], #{strings => binary, dicts => map, binaries => bytes}))
        end
     || {_, Term, same} <- values(), is_tuple(Term), is_atom(element(1, Term))
    ].

a_tuple_that_does_not_fit_stays_a_tuple(_Config) ->
    [
        ?assertEqual({Term, "tuple"}, {
            py:func(copy, copy, [Term], #{haystack => true, strings => binary, dicts => map}),
            py:func(py_marshalling, type_name, [Term], #{haystack => true})
        })
     || Term <- [
            {py, markers},
            {number, 1, <<>>},
            {number, <<"1">>, <<"kW">>},
            {ref, 1, 2},
            {uri, 7},
            {coord, 91, 0},
            {timestamp, now, undefined},
            {grid, #{meta => #{}, cols => [], rows => [[1]]}},
            {grid, #{meta => #{}, cols => [<<"a">>, <<"a">>], rows => []}},
            {matrix, 1, 1, <<>>},
            {py, marker, 1}
        ]
    ].

%%% Options

texts_are_strings_without_the_option_for_binaries(_Config) ->
    Make = fun(Expression) -> py:func(py_marshalling, make, [Expression], #{haystack => true}) end,
    ?assertEqual({number, 1, "kW"}, Make(<<"Number(1, 'kW')">>)),
    ?assertEqual({ref, "a", "b"}, Make(<<"Ref('a', 'b')">>)),
    ?assertEqual({uri, "a"}, Make(<<"Uri('a')">>)),
    ?assertEqual(
        {grid, #{meta => {"dict", [{"m", 1}]}, cols => [#{name => "a", meta => {"dict", []}}], rows => [["x"]]}},
        Make(<<"Grid(['a'], [['x']], {'m': 1})">>)
    ).

a_pool_has_the_option_as_its_default(Config) ->
    {ok, _} = py:start_pool(hay, maps:merge(pool(Config), ?ON)),
    Call = fun(Options) -> py:func(py_marshalling, make, [<<"Ref('a')">>], Options) end,
    ?assertEqual({ref, <<"a">>, undefined}, Call(#{pool => hay})),
    ?assertEqual({ref, "a", undefined}, Call(#{pool => hay, strings => list})),
    ?assertMatch({'$erlport.opaque', python, _}, Call(#{pool => hay, haystack => false})),
    ?assertMatch({'$erlport.opaque', python, _}, Call(#{})).

a_grid_is_made_and_read_in_erlang(_Config) ->
    Grid = py_haystack:grid(#{dis => <<"Table">>}, [id, <<"v">>], [[<<"a">>, 1], #{id => <<"b">>}]),
    Back = py:func(copy, copy, [Grid], ?ON),
    ?assertEqual(#{dis => <<"Table">>}, py_haystack:meta(Back)),
    ?assertEqual([id, <<"v">>], py_haystack:names(Back)),
    ?assertEqual([#{id => <<"a">>, <<"v">> => 1}, #{id => <<"b">>}], py_haystack:rows(Back)),
    ?assertEqual(#{id => [<<"a">>, <<"b">>], <<"v">> => [1, undefined]}, py_haystack:to_columns(Back)).

%%% Arrays

an_array_comes_back_exact(_Config) ->
    On = #{haystack => true},
    ?assertEqual(
        {"ndarray", {"<i4", {2, 2}, <<1:32/little, 3:32/little, 2:32/little, 4:32/little>>}},
        py:func(py_marshalling, make, [<<"numpy.array([[1, 2], [3, 4]], '<i4').T">>], On)
    ),
    [
        begin
            Made = {"ndarray", {_, _, _}} = py:func(py_marshalling, make, [Expression], On),
            ?assertEqual(true, py:func(py_marshalling, same, [Expression, Made], On)),
            ?assertEqual([{Made}], py:func(copy, copy, [[{Made}]], On))
        end
     || Expression <- [
            <<"numpy.array(1.5)">>,
            <<"numpy.zeros((0, 3), '>f4')">>,
            <<"numpy.array([True, False])">>,
            <<"numpy.array([1+2j])">>,
            <<"numpy.array(['2024-01-01', 'NaT'], 'M8[ns]')">>,
            <<"numpy.array(['é', 'bc'])"/utf8>>,
            <<"numpy.array([b'a', b'bc'])">>,
            <<"numpy.array([(1, b'a', [2, 3])], [('x', '>i2'), ('y', 'S2'), ('z', '<f8', (2,))])">>
        ]
    ],
    ?assertMatch({'$erlport.opaque', python, _}, py:func(py_marshalling, make, [<<"numpy.zeros(2)">>])).

an_array_of_objects_is_an_opaque(_Config) ->
    Array = py:func(py_marshalling, make, [<<"numpy.array([1, 'a'], object)">>], #{haystack => true}),
    ?assertMatch({'$erlport.opaque', python, _}, Array),
    ?assertEqual([1, "a"], py:method(Array, tolist, #{haystack => true})).

an_array_whose_size_is_wrong_stays_a_tuple(_Config) ->
    [
        ?assertEqual("tuple", py:func(py_marshalling, type_name, [{"ndarray", Payload}], #{haystack => true}))
     || Payload <- [{"<f8", {2}, <<0:64>>}, {"O", {1}, <<0:64>>}, {"<f8", {1 bsl 61, 8}, <<>>}, {"<f8", {-1}, <<>>}]
    ],
    ?assertEqual(3, py:add(1, 2)).

a_matrix_goes_both_ways(_Config) ->
    On = #{haystack => true, matrices => true},
    Matrix = py_haystack:matrix([[1, 2, 3], [4, 5, 6]]),
    ?assertEqual({"ndarray", {"<f8", {2, 3}, element(4, Matrix)}}, py:func(copy, copy, [Matrix], #{haystack => true})),
    Turned = py:func(numpy, transpose, [Matrix], On),
    ?assertEqual([[1.0, 4.0], [2.0, 5.0], [3.0, 6.0]], py_haystack:to_rows(Turned)),
    ?assertMatch({"ndarray", _}, py:func(numpy, zeros, [3], On)).

%%% Frames

a_frame_is_a_grid(_Config) ->
    Grid = py_haystack:grid([<<"id">>, <<"v">>], [[<<"a">>, {number, 1.5, <<"kW">>}], [<<"b">>, {number, 2.5, <<"kW">>}]]),
    ?assertEqual(4.0, py:func(py_marshalling, frame_sum, [Grid, <<"v">>], ?ON)),
    Twice = py:func(py_marshalling, scaled, [Grid, <<"v">>, 2], ?ON),
    ?assertEqual([{number, 3.0, <<"kW">>}, {number, 5.0, <<"kW">>}], py_haystack:column(v, Twice)),
    ?assertEqual([<<"id">>, <<"v">>], py_haystack:names(Twice)),
    Frame = py:func(py_marshalling, make, [<<"[pandas.DataFrame({'a': [1, 2], 'b': ['x', None]})]">>], ?ON),
    ?assertMatch([{grid, #{rows := [[1, <<"x">>], [2, undefined]]}}], Frame).

a_frame_of_polars_is_a_grid(_Config) ->
    Frame = py:func(py_marshalling, make, [<<"polars.DataFrame({'a': [1, None], 'b': ['x', 'y']})">>], ?ON),
    ?assertEqual(#{<<"a">> => [1, undefined], <<"b">> => [<<"x">>, <<"y">>]}, py_haystack:to_columns(Frame)).

a_frame_is_columns(_Config) ->
    Expression = <<"pandas.DataFrame({'a': [1, 2], 'b': ['x', None]})">>,
    Columns = #{<<"a">> => [1, 2], <<"b">> => [<<"x">>, undefined]},
    ?assertEqual(Columns, py:func(py_marshalling, make, [Expression], maps:merge(?ON, #{frames => columns}))),
    %% Also without Haystack's kinds.
    Only = #{strings => binary, frames => columns},
    ?assertEqual(Columns, py:func(py_marshalling, make, [Expression], Only)),
    ?assertMatch({'$erlport.opaque', python, _}, py:func(py_marshalling, make, [Expression])).

a_frame_is_an_arrow_stream(_Config) ->
    Expression = <<"pandas.DataFrame({'a': [1, 2], 'b': ['x', None]})">>,
    Stream = py:func(py_marshalling, make, [Expression], #{frames => arrow}),
    ?assert(is_binary(Stream)),
    ?assertEqual(
        [#{<<"a">> => 1, <<"b">> => <<"x">>}, #{<<"a">> => 2, <<"b">> => undefined}],
        py:func(py_marshalling, arrow_rows, [{bytes, Stream}], ?ON)
    ).

two_columns_of_one_name_are_refused_and_the_worker_lives(_Config) ->
    Expression = <<"pandas.DataFrame([[1, 2]], columns=['a', 'a'])">>,
    ?assertError({py, {encode, _}}, py:func(py_marshalling, make, [Expression], ?ON)),
    ?assertEqual(3, py:add(1, 2)).
