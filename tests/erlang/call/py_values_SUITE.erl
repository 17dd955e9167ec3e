%%% Values both ways, at every depth; options, encoders and decoders, opaques, references.
-module(py_values_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-export([suite/0, all/0, init_per_testcase/2, end_per_testcase/2]).
-export([
    each_python_value_arrives_as_documented/1,
    each_python_value_arrives_the_same_at_every_depth/1,
    each_erlang_term_becomes_the_documented_value/1,
    each_erlang_term_becomes_the_same_value_at_every_depth/1,
    what_came_from_python_goes_back_as_it_was/1,
    terms_that_python_does_not_know_stay_what_they_are/1,
    a_tuple_that_does_not_fit_its_tag_stays_a_tuple/1,
    strings_can_be_binaries_at_every_depth/1,
    dicts_can_be_maps_at_every_depth/1,
    none_is_the_atom_that_is_asked_for/1,
    an_erlang_map_is_a_dict/1,
    binaries_can_be_bytes_at_every_depth/1,
    invalid_utf8_is_refused_with_what_to_write_instead/1,
    a_matrix_without_its_option_is_refused_with_what_to_write_instead/1,
    the_zone_of_a_time_may_be_its_name/1,
    a_pool_has_mapping_options_of_its_own/1,
    numpy_scalars_are_numbers/1,
    a_registered_type_has_an_encoder_and_a_decoder/1,
    a_failing_encoder_or_decoder_is_told_with_its_name/1,
    an_opaque_is_the_same_object_on_any_worker/1,
    an_opaque_that_was_tampered_with_is_refused/1,
    an_opaque_without_a_signature_is_refused_and_never_run/1,
    a_pool_may_read_any_pickle/1,
    what_can_not_be_pickled_is_a_reference/1,
    a_reference_works_at_every_depth/1,
    a_call_with_a_reference_goes_to_its_worker/1,
    references_of_two_workers_do_not_meet/1,
    a_released_reference_is_freed_and_stale/1,
    a_reference_is_freed_when_its_owner_ends/1,
    a_reference_is_stale_after_its_worker_died/1
]).

suite() -> [{timetrap, {minutes, 5}}].

all() ->
    [
        each_python_value_arrives_as_documented,
        each_python_value_arrives_the_same_at_every_depth,
        each_erlang_term_becomes_the_documented_value,
        each_erlang_term_becomes_the_same_value_at_every_depth,
        what_came_from_python_goes_back_as_it_was,
        terms_that_python_does_not_know_stay_what_they_are,
        a_tuple_that_does_not_fit_its_tag_stays_a_tuple,
        strings_can_be_binaries_at_every_depth,
        dicts_can_be_maps_at_every_depth,
        none_is_the_atom_that_is_asked_for,
        an_erlang_map_is_a_dict,
        binaries_can_be_bytes_at_every_depth,
        invalid_utf8_is_refused_with_what_to_write_instead,
        a_matrix_without_its_option_is_refused_with_what_to_write_instead,
        the_zone_of_a_time_may_be_its_name,
        a_pool_has_mapping_options_of_its_own,
        numpy_scalars_are_numbers,
        a_registered_type_has_an_encoder_and_a_decoder,
        a_failing_encoder_or_decoder_is_told_with_its_name,
        an_opaque_is_the_same_object_on_any_worker,
        an_opaque_that_was_tampered_with_is_refused,
        an_opaque_without_a_signature_is_refused_and_never_run,
        a_pool_may_read_any_pickle,
        what_can_not_be_pickled_is_a_reference,
        a_reference_works_at_every_depth,
        a_call_with_a_reference_goes_to_its_worker,
        references_of_two_workers_do_not_meet,
        a_released_reference_is_freed_and_stale,
        a_reference_is_freed_when_its_owner_ends,
        a_reference_is_stale_after_its_worker_died
    ].

init_per_testcase(_, Config) ->
    ok = py_application:start([{default, pool(Config)}]),
    Config.

end_per_testcase(_, _Config) -> py_application:stop().

pool(Config) -> #{size => 2, python_path => [?config(data_dir, Config)]}.

%%% The table

%% {Python expression, its term in Erlang, what to write in Erlang for that value}. `same': what arrives is what to write.
values() ->
    [
        {<<"None">>, undefined, same},
        {<<"True">>, true, same},
        {<<"False">>, false, same},
        {<<"0">>, 0, same},
        {<<"255">>, 255, same},
        {<<"256">>, 256, same},
        {<<"-1">>, -1, same},
        {<<"2**31 - 1">>, 1 bsl 31 - 1, same},
        {<<"2**31">>, 1 bsl 31, same},
        {<<"-2**31">>, -(1 bsl 31), same},
        {<<"2**63">>, 1 bsl 63, same},
        {<<"2**2048 + 1">>, 1 bsl 2048 + 1, same},
        {<<"-2**4096">>, -(1 bsl 4096), same},
        {<<"1.5">>, 1.5, same},
        {<<"1e300">>, 1.0e300, same},
        {<<"5e-324">>, 5.0e-324, same},
        {<<"Atom('ok')">>, ok, same},
        {<<"Atom('\\u043a\\u043b\\u044e\\u0447')">>, 'ключ', same},
        {<<"'abc'">>, "abc", <<"abc">>},
        {<<"''">>, "", <<>>},
        {<<"'\\u043a\\u043b\\u044e\\u0447 \\U0001f40d'">>, "ключ 🐍", <<"ключ 🐍"/utf8>>},
        {<<"'x' * 70000">>, lists:duplicate(70_000, $x), binary:copy(<<"x">>, 70_000)},
        {<<"b'abc'">>, <<"abc">>, {bytes, <<"abc">>}},
        {<<"b''">>, <<>>, {bytes, <<>>}},
        {<<"bytes(range(256))">>, list_to_binary(lists:seq(0, 255)), {bytes, list_to_binary(lists:seq(0, 255))}},
        {<<"bytearray(b'ab')">>, {"bytearray", <<"ab">>}, same},
        {<<"[]">>, [], same},
        {<<"[1, 2]">>, [1, 2], same},
        {<<"[1, 'a', None]">>, [1, "a", undefined], [1, <<"a">>, undefined]},
        {<<"list(range(70000))">>, lists:seq(0, 69_999), same},
        {<<"[7] * 70000">>, lists:duplicate(70_000, 7), same},
        {<<"()">>, {}, same},
        {<<"(1,)">>, {1}, same},
        {<<"tuple(range(300))">>, list_to_tuple(lists:seq(0, 299)), same},
        {<<"{}">>, {"dict", []}, same},
        {<<"{'a': 1, 2: None}">>, {"dict", [{"a", 1}, {2, undefined}]}, same},
        {<<"{'date': (1923, 4, 2)}">>, {"dict", [{"date", {1923, 4, 2}}]}, same},
        {<<"{('a', 1): 2}">>, {"dict", [{{"a", 1}, 2}]}, same},
        {<<"collections.UserDict({'a': 1})">>, {"UserDict", [{"a", 1}]}, same},
        {<<"collections.OrderedDict([('b', 1), ('a', 2)])">>, {"OrderedDict", [{"b", 1}, {"a", 2}]}, same},
        {<<"collections.defaultdict(None, {'a': 1})">>, {"defaultdict", [{"a", 1}]}, same},
        {<<"collections.ChainMap({'a': 1})">>, {"ChainMap", [{"a", 1}]}, same},
        {<<"collections.Counter('aab')">>, {"Counter", [{"a", 2}, {"b", 1}]}, same},
        {<<"datetime.date(1923, 4, 2)">>, {"date", {1923, 4, 2}}, same},
        {<<"datetime.time(1, 2, 3, 4)">>, {"time", {1, 2, 3, 4, undefined}}, same},
        {<<"datetime.time(1, 2, tzinfo=datetime.timezone(datetime.timedelta(hours=2)))">>,
            {"time", {1, 2, 0, 0, {"timezone", 7200}}}, same},
        {<<"datetime.datetime(2014, 12, 23, 23, 14, 37, 677463)">>,
            {"datetime", {2014, 12, 23, 23, 14, 37, 677463, undefined}}, same},
        {<<"datetime.datetime(2014, 12, 23, tzinfo=datetime.timezone.utc)">>,
            {"datetime", {2014, 12, 23, 0, 0, 0, 0, {"timezone", 0}}}, same},
        {<<"datetime.datetime(2014, 12, 23, tzinfo=zoneinfo.ZoneInfo('Europe/Paris'))">>,
            {"datetime", {2014, 12, 23, 0, 0, 0, 0, {"zoneinfo", "Europe/Paris"}}}, same},
        {<<"datetime.timedelta(-1, 2, 3)">>, {"timedelta", {-1, 2, 3}}, same},
        {<<"datetime.timezone(datetime.timedelta(hours=-5))">>, {"timezone", -18000}, same},
        {<<"zoneinfo.ZoneInfo('Europe/Paris')">>, {"zoneinfo", "Europe/Paris"}, same},
        {<<"{7}">>, {"set", [7]}, same},
        {<<"set()">>, {"set", []}, same},
        {<<"{'a'}">>, {"set", ["a"]}, same},
        {<<"frozenset(['a'])">>, {"frozenset", ["a"]}, same},
        {<<"frozenset([frozenset([7])])">>, {"frozenset", [{"frozenset", [7]}]}, same},
        {<<"decimal.Decimal('1.10')">>, {"Decimal", "1.10"}, same},
        {<<"decimal.Decimal('1.10')">>, {"Decimal", "1.10"}, {"Decimal", <<"1.10">>}},
        {<<"fractions.Fraction(1, 3)">>, {"Fraction", {1, 3}}, same},
        {<<"complex(1, -2.5)">>, {"complex", {1.0, -2.5}}, same},
        {<<"complex(math.inf, 0)">>, {"complex", {infinity, 0.0}}, same},
        {<<"uuid.UUID('12345678-1234-5678-1234-567812345678')">>, {"UUID", "12345678-1234-5678-1234-567812345678"}, same},
        {<<"Atom('nan')">>, nan, same},
        {<<"math.nan">>, nan, none},
        {<<"math.inf">>, infinity, none},
        {<<"-math.inf">>, '-infinity', none},
        {<<"Colour.RED">>, opaque, back},
        {<<"Level.HIGH">>, opaque, back},
        {<<"Pair(1, 'a')">>, opaque, back},
        {<<"Record(1, 'a')">>, opaque, back},
        {<<"Point(1, 2)">>, opaque, back},
        {<<"range(3)">>, opaque, back},
        {<<"array.array('i', [1, 2])">>, opaque, back},
        {<<"slice(1, 2)">>, opaque, back},
        {<<"len">>, opaque, back},
        {<<"int">>, opaque, back},
        {<<"datetime.timezone(datetime.timedelta(0), 'here')">>, opaque, back},
        {<<"datetime.datetime(2014, 10, 26, 2, 30, fold=1)">>, opaque, back},
        {<<"collections.deque([1])">>, opaque, back}
    ].

%% The five places that `py_values:wrapped' and `py_values:all_same' know.
places(Term) ->
    [
        [Term],
        {Term},
        {"dict", [{"key", Term}]},
        [{{"dict", [{"key", [Term]}]}}],
        {"dict", [{1, {"dict", [{2, {Term, [Term]}}]}}]}
    ].

%% The same with Erlang's maps.
places_in_maps(Term) ->
    [[Term], {Term}, #{<<"key">> => Term}, [{#{<<"key">> => [Term]}}], #{1 => #{2 => {Term, [Term]}}}].

make(Expression) -> py:func(py_values, make, [Expression]).

each_python_value_arrives_as_documented(_Config) ->
    each(fun(Expression, Term, _) -> arrives(Term, make(Expression)) end).

each_python_value_arrives_the_same_at_every_depth(_Config) ->
    each(fun
        (Expression, opaque, _) ->
            [[One], {Two}, {"dict", [{"key", Three}]} | _] = py:func(py_values, wrapped, [Expression]),
            lists:all(fun is_opaque/1, [One, Two, Three]);
        (Expression, Term, _) ->
            arrives(places(Term), py:func(py_values, wrapped, [Expression]))
    end).

each_erlang_term_becomes_the_documented_value(_Config) ->
    each(fun(Expression, Term, Written) ->
        case written(Expression, Term, Written) of
            {ok, Given} -> py:func(py_values, same, [Expression, Given]);
            none -> true
        end
    end).

each_erlang_term_becomes_the_same_value_at_every_depth(_Config) ->
    each(fun(Expression, Term, Written) ->
        case written(Expression, Term, Written) of
            {ok, Given} ->
                case py:func(py_values, all_same, [Expression, places(Given)]) of
                    true -> py:func(py_values, all_same, [Expression, places_in_maps(Given)]);
                    Other -> Other
                end;
            none ->
                true
        end
    end).

what_came_from_python_goes_back_as_it_was(_Config) ->
    %% Where a value arrives as a term of its own kind; a str arrives as a list and stays one.
    each(fun
        (Expression, Term, Written) when Written =:= same; Written =:= back ->
            Made = make(Expression),
            case py:func(py_values, identity, [Made]) of
                Made -> true;
                Other when Term =:= opaque -> py:func(py_values, same, [Expression, Other]);
                Other -> {Made, Other}
            end;
        (_, _, _) ->
            true
    end).

arrives(opaque, Value) -> is_opaque(Value) orelse Value;
arrives(Term, Term) -> true;
arrives(_, Value) -> Value.

written(_, _, none) -> none;
written(Expression, opaque, back) -> {ok, make(Expression)};
written(_, Term, same) -> {ok, Term};
written(_, _, Written) -> {ok, Written}.

%% Every row is looked at, and those that are not `true' are shown together.
each(Check) ->
    case
        [
            {Expression, Result}
         || {Expression, Term, Written} <- values(),
            Result <- [result(Check, Expression, Term, Written)],
            Result =/= true
        ]
    of
        [] -> ok;
        Wrong -> ct:fail("~tp", [Wrong])
    end.

result(Check, Expression, Term, Written) ->
    try
        Check(Expression, Term, Written)
    catch
        Class:Reason -> {Class, Reason}
    end.

%%% Other terms

terms_that_python_does_not_know_stay_what_they_are(_Config) ->
    {ok, Port} = gen_udp:open(0),
    Terms = [
        self(),
        make_ref(),
        Port,
        fun lists:sum/1,
        fun(X) -> X end,
        <<5:3>>,
        [1, 2 | 3],
        [a | b],
        nan,
        'an atom with spaces',
        '',
        {self(), [make_ref()]}
    ],
    [?assertEqual(Term, py:func(py_values, identity, [Term])) || Term <- Terms],
    [?assertEqual([Given], py:func(py_values, identity, [[Given]])) || Given <- Terms],
    [?assertEqual({x, Given}, py:func(py_values, identity, [{x, Given}])) || Given <- Terms],
    ?assertEqual("Pid", py:func(py_values, type_name, [self()])),
    ?assertEqual("Atom", py:func(py_values, type_name, [ok])),
    %% And they can be used there.
    undefined = py:func(py_values, cast_to, [self(), {"from Python", [1]}]),
    receive {"from Python", [1]} -> ok after 5_000 -> ct:fail(no_message) end,
    gen_udp:close(Port).

a_tuple_that_does_not_fit_its_tag_stays_a_tuple(_Config) ->
    [
        ?assertEqual({Term, "tuple"}, {py:func(py_values, identity, [Term]), py:func(py_values, type_name, [Term])})
     || Term <- [
            {"date", x},
            {"date", {1923, 4}},
            {"date", {1923, 13, 2}},
            {"datetime", {2014, 12, 23}},
            {"datetime", {2014, 12, 23, 23, 14, 37, 677463, nowhere}},
            {"timedelta", {1, 2}},
            {"dict", 5},
            {"dict", [a]},
            {"dict", [{1, 2, 3}]},
            {"set", x},
            {"set", [[[1]]]},
            {"Decimal", "one"},
            {"Fraction", {1, 0}},
            {"complex", {1}},
            {"UUID", "1"},
            {"zoneinfo", "Middle/Earth"},
            {"nothing", {1923, 4, 2}},
            {"date", {1923, 4, 2}, more}
        ]
    ].

%%% Options

strings_can_be_binaries_at_every_depth(_Config) ->
    Binary = #{strings => binary},
    ?assertEqual(<<"ключ"/utf8>>, py:func(py_values, make, [<<"'\\u043a\\u043b\\u044e\\u0447'">>], Binary)),
    ?assertEqual(<<>>, py:func(py_values, make, [<<"''">>], Binary)),
    ?assertEqual(
        [[<<"a">>], {<<"a">>}, {"dict", [{<<"key">>, <<"a">>}]}, [{{"dict", [{<<"key">>, [<<"a">>]}]}}],
            {"dict", [{1, {"dict", [{2, {<<"a">>, [<<"a">>]}}]}}]}],
        py:func(py_values, wrapped, [<<"'a'">>], Binary)
    ),
    %% The tags and the texts of tagged forms are strings as ever.
    [
        ?assertEqual(Term, py:func(py_values, make, [Expression], Binary))
     || {Expression, Term} <- [
            {<<"decimal.Decimal('1.10')">>, {"Decimal", "1.10"}},
            {<<"zoneinfo.ZoneInfo('Europe/Paris')">>, {"zoneinfo", "Europe/Paris"}},
            {<<"datetime.date(1923, 4, 2)">>, {"date", {1923, 4, 2}}}
        ]
    ].

dicts_can_be_maps_at_every_depth(_Config) ->
    Map = #{dicts => map},
    ?assertEqual(#{}, py:func(py_values, make, [<<"{}">>], Map)),
    ?assertEqual(
        [[7], {7}, #{"key" => 7}, [{#{"key" => [7]}}], #{1 => #{2 => {7, [7]}}}],
        py:func(py_values, wrapped, [<<"7">>], Map)
    ),
    ?assertEqual(#{<<"key">> => <<"a">>}, py:func(py_values, make, [<<"{'key': 'a'}">>], Map#{strings => binary})),
    %% Only a dict is a map.
    ?assertEqual({"Counter", [{"a", 1}]}, py:func(py_values, make, [<<"collections.Counter('a')">>], Map)).

none_is_the_atom_that_is_asked_for(Config) ->
    Nil = #{none => nil},
    ?assertEqual("{\"a\": null}", py:func(json, dumps, [#{a => nil}], Nil)),
    ?assertEqual(false, py:func(builtins, bool, [nil], Nil)),
    ?assertEqual([nil, {"dict", [{nil, {nil, 1}}]}], py:func(py_values, make, [<<"[None, {None: (None, 1)}]">>], Nil)),
    %% In tagged forms, too, and what is written as the forms are.
    Time = {"datetime", {2024, 1, 2, 3, 4, 5, 6, nil}},
    ?assertEqual(Time, py:func(py_values, identity, [Time], Nil)),
    ?assertEqual(Time, py:func(py_values, identity, [{"datetime", {2024, 1, 2, 3, 4, 5, 6, undefined}}], Nil)),
    %% The other two are atoms like any other, and none is lost.
    [
        ?assertEqual([nil, none, undefined], py:func(py_values, identity, [[nil, none, undefined]], #{none => None}))
     || None <- [undefined, nil, none]
    ],
    ?assertEqual(none, py:func(builtins, print, [<<>>], #{none => none})),
    {ok, _} = py:start_pool(elixir, (pool(Config))#{size => 1, none => nil, on_start => {py_values, identity, [nil]}}),
    ?assertEqual(nil, py:pycall(py_values, identity, [nil], #{pool => elixir})),
    ?assertEqual(true, py:pycall(operator, is_, [nil, nil], #{pool => elixir})),
    ?assertEqual([false, true], py:pmap(builtins, bool, [nil, undefined], #{pool => elixir})),
    ?assertEqual(undefined, py:func(py_values, make, [<<"None">>], #{pool => elixir, none => undefined})),
    ok = py:stop_pool(elixir),
    ?assertError(badarg, py:func(os, getpid, #{none => null})),
    %% What a call leaves out is no name, whatever None is.
    [
        begin
            ?assertEqual([true, true], [py:func('os.path.isdir', [<<"/">>], #{none => None}) || _ <- "ab"]),
            ?assertEqual(true, py:func(<<"os.path.isdir">>, [<<"/">>], #{none => None})),
            ?assertEqual(2, py:func(py:func(operator, itemgetter, [1]), [{1, 2}], #{none => None})),
            ?assertEqual(<<"a">>, binary:part(py:const('string.ascii_lowercase', #{none => None, strings => binary}), 0, 1))
        end
     || None <- [nil, none]
    ].

an_erlang_map_is_a_dict(_Config) ->
    ?assertEqual(true, py:func(py_values, same, [<<"{'a': {1: [Atom('b')]}}">>, #{<<"a">> => #{1 => [b]}}])),
    ?assertEqual(true, py:func(py_values, same, [<<"{'a': 1}">>, #{"a" => 1}])),
    ?assertEqual(true, py:func(py_values, same, [<<"{}">>, #{}])),
    %% Keys that are one key in Python are refused, not lost.
    [
        ?assertError({py, {decode, _}}, py:func(py_values, identity, [Map]))
     || Map <- [#{1 => a, 1.0 => b}, #{1 => a, true => b}, #{a => 1, <<"a">> => 2}, #{[[1]] => 1}]
    ].

binaries_can_be_bytes_at_every_depth(_Config) ->
    ?assertEqual(
        "[[b'a'], (b'a',), {'key': b'a'}, [({'key': [b'a']},)], {1: {2: (b'a', [b'a'])}}]",
        py:func(py_values, representation, [places(<<"a">>)], #{binaries => bytes})
    ).

invalid_utf8_is_refused_with_what_to_write_instead(_Config) ->
    try py:func(py_values, identity, [[<<"fine">>, <<255>>]]) of
        Value -> ct:fail({accepted, Value})
    catch
        error:{py, {decode, Text}} ->
            [?assertNotEqual(nomatch, string:find(Text, Part), Text) || Part <- ["UTF-8", "{bytes, B"]]
    end,
    ?assertEqual(<<255>>, py:func(py_values, identity, [{bytes, <<255>>}])),
    ?assertEqual(<<255>>, py:func(py_values, identity, [<<255>>], #{binaries => bytes})).

a_matrix_without_its_option_is_refused_with_what_to_write_instead(_Config) ->
    Matrix = py_haystack:matrix([[1, 2], [3, 4]]),
    Said = fun(Call) ->
        try Call() of
            Value -> ct:fail({passed, Value})
        catch
            error:{py, {decode, Text}} -> Text
        end
    end,
    [
        ?assertNotEqual(nomatch, string:find(Said(Call), "the option haystack => true"))
     || Call <- [
            fun() -> py:func(builtins, type, [Matrix]) end,
            fun() -> py:func(builtins, len, [[{a, #{b => Matrix}}]], #{strings => binary}) end,
            fun() -> py:gather(py:scatter(builtins, type, [[Matrix]])) end,
            fun() -> py_session:eval(py_session:define(py_session:open(#{haystack => false}), m, Matrix), "m") end
        ]
    ],
    %% That of another binary is told as ever.
    [
        ?assertEqual(nomatch, string:find(Said(Call), "haystack"))
     || Call <- [
            fun() -> py:func(builtins, len, [<<255>>]) end,
            fun() -> py:func(builtins, len, [[<<255>>, Matrix]], #{haystack => true}) end
        ]
    ].

the_zone_of_a_time_may_be_its_name(_Config) ->
    Noon = fun(Zone) -> {"datetime", {2024, 7, 1, 12, 0, 0, 0, Zone}} end,
    Shown = fun(Zone) -> py:method(Noon(Zone), isoformat) end,
    ?assertEqual("2024-07-01T12:00:00+02:00", Shown(<<"Europe/Zurich">>)),
    ?assertEqual("2024-07-01T12:00:00+02:00", Shown("Europe/Zurich")),
    ?assertEqual("2024-07-01T12:00:00+00:00", Shown(<<"UTC">>)),
    ?assertEqual("12:00:00+00:00", py:method({"time", {12, 0, 0, 0, <<"UTC">>}}, isoformat)),
    ?assertEqual(Noon({"zoneinfo", "Europe/Zurich"}), py:func(copy, copy, [Noon(<<"Europe/Zurich">>)])),
    [
        try Shown(Zone) of
            Value -> ct:fail({passed, Value})
        catch
            error:{py, {decode, Text}} ->
                ?assertNotEqual(nomatch, string:find(Text, "there is no time zone 'Europe/Zurik'; did you mean 'Europe/Zurich'?"))
        end
     || Zone <- [<<"Europe/Zurik">>, "Europe/Zurik", {"zoneinfo", "Europe/Zurik"}]
    ].

a_pool_has_mapping_options_of_its_own(Config) ->
    {ok, _} = py:start_pool(modern, (pool(Config))#{size => 1, strings => binary, dicts => map}),
    Call = fun(Options) -> py:func(py_values, make, [<<"{'a': 'b'}">>], Options) end,
    ?assertEqual(#{<<"a">> => <<"b">>}, Call(#{pool => modern})),
    ?assertEqual({"dict", [{"a", "b"}]}, Call(#{})),
    %% A call's own options are nearer.
    ?assertEqual(#{"a" => "b"}, Call(#{pool => modern, strings => list})),
    ?assertEqual({"dict", [{<<"a">>, <<"b">>}]}, Call(#{pool => modern, dicts => tagged})),
    [#{worker := Worker}] = py:workers(modern),
    ?assertEqual(#{<<"a">> => <<"b">>}, Call(#{worker => Worker})),
    ?assertEqual(#{<<"a">> => <<"b">>}, py:pycall(py_values, make, [<<"{'a': 'b'}">>], #{pool => modern})).

numpy_scalars_are_numbers(_Config) ->
    case py:func('importlib.util', find_spec, [<<"numpy">>]) of
        undefined ->
            {skip, "numpy is not installed in the interpreter under test"};
        _ ->
            ?assertEqual(3, py:func(numpy, int64, [3])),
            ?assertEqual(255, py:func(numpy, uint8, [255])),
            ?assertEqual(1.5, py:func(numpy, float32, [1.5])),
            ?assertEqual(true, py:func(numpy, 'bool_', [true])),
            ?assertEqual(nan, py:const(numpy, nan)),
            ?assertEqual({"complex", {1.0, 2.0}}, py:func(numpy, complex128, [{"complex", {1, 2}}])),
            ?assert(is_opaque(py:func(numpy, array, [[1, 2]])))
    end.

%%% Registered types

a_registered_type_has_an_encoder_and_a_decoder(Config) ->
    {ok, _} = py:start_pool(shapes, (pool(Config))#{
        encoders => [{'py_values.Point', {py_values, encode_point}}],
        decoders => [{point, {py_values, decode_point}}, {<<"point">>, {<<"py_values">>, <<"decode_point">>}}]
    }),
    On = #{pool => shapes},
    Point = {point, [1, 2]},
    ?assertEqual(Point, py:func(py_values, make, [<<"Point(1, 2)">>], On)),
    ?assertEqual(places(Point), py:func(py_values, wrapped, [<<"Point(1, 2)">>], On)),
    %% A subclass is encoded as its base.
    ?assertEqual(Point, py:func(py_values, make, [<<"Point3(1, 2)">>], On)),
    [
        begin
            ?assertEqual(true, py:func(py_values, same, [<<"Point(1, 2)">>, Given], On)),
            ?assertEqual(true, py:func(py_values, all_same, [<<"Point(1, 2)">>, places(Given)], On))
        end
     || Given <- [Point, {"point", [1, 2]}]
    ],
    %% Both workers know them, also after a restart; the default pool does not.
    [
        ?assertEqual(Point, py:func(py_values, identity, [Point], #{worker => Worker}))
     || #{worker := Worker} <- py:workers(shapes)
    ],
    [#{worker := First, os_pid := OsPid} | _] = py:workers(shapes),
    py_os_process:kill(OsPid),
    py_eventually:equals([], fun() -> [P || #{os_pid := P} <- py:workers(shapes), P =:= OsPid] end),
    ?assertEqual("Point", py:func(py_values, type_name, [Point], #{worker => First})),
    ?assertEqual("tuple", py:func(py_values, type_name, [Point])).

a_failing_encoder_or_decoder_is_told_with_its_name(Config) ->
    {ok, _} = py:start_pool(fragile, (pool(Config))#{
        size => 1,
        encoders => [{'py_values.Fragile', {py_values, encode_fragile}}],
        decoders => [{fragile, {py_values, decode_fragile}}]
    }),
    On = #{pool => fragile},
    [
        try py:func(py_values, Function, Args, On) of
            Value -> ct:fail({no_error, Value})
        catch
            error:{py, {Kind, Text}} ->
                [?assertNotEqual(nomatch, string:find(Text, Word), Text) || Word <- Words]
        end
     || {Kind, Function, Args, Words} <- [
            {encode, make, [<<"Fragile()">>], ["Fragile", "fragile indeed"]},
            {encode, make, [<<"[{1: Fragile()}]">>], ["Fragile", "fragile indeed"]},
            {decode, identity, [{fragile, 1}], ["fragile", "can't be read"]},
            {decode, identity, [[{fragile, 1}]], ["fragile", "can't be read"]}
        ]
    ],
    ?assertEqual(3, py:func(operator, add, [1, 2], On)).

%%% Opaques

an_opaque_is_the_same_object_on_any_worker(_Config) ->
    Range = py:range(7, 42),
    Lambda = py:func(builtins, eval, [<<"lambda x: x + 1">>]),
    [
        begin
            ?assertEqual(35, py:func(builtins, len, [Range], #{worker => Worker})),
            ?assertEqual(true, py:func(py_values, same, [<<"range(7, 42)">>, Range], #{worker => Worker})),
            ?assertEqual(42, py:func(Lambda, [41], #{worker => Worker}))
        end
     || #{worker := Worker} <- py:workers()
    ].

an_opaque_that_was_tampered_with_is_refused(_Config) ->
    {'$erlport.opaque', python, Pickle} = py:range(3),
    Size = byte_size(Pickle),
    [
        ?assertError({py, {decode, _}}, py:len({'$erlport.opaque', python, Bad}), {byte, At})
     || At <- [0, 1, Size div 2, Size - 33, Size - 32, Size - 1],
        Bad <- [flipped(At, Pickle), binary:part(Pickle, 0, At)]
    ],
    ?assertEqual(3, py:len({'$erlport.opaque', python, Pickle})).

flipped(At, Bytes) ->
    <<Before:At/binary, Byte, After/binary>> = Bytes,
    <<Before/binary, (Byte bxor 1), After/binary>>.

%% A pickle that makes a directory when it is read.
pickle_with_an_effect(Directory) ->
    iolist_to_binary(["cos\nmkdir\n(S'", Directory, "'\ntR."]).

an_opaque_without_a_signature_is_refused_and_never_run(Config) ->
    Directory = filename:join(?config(priv_dir, Config), "made_by_a_pickle"),
    Evil = {'$erlport.opaque', python, pickle_with_an_effect(Directory)},
    [
        ?assertError({py, {decode, _}}, py:func(py_values, identity, [Given]))
     || Given <- [Evil, [Evil], {Evil}, #{1 => Evil}, {"dict", [{1, Evil}]}]
    ],
    ?assertError({py, {decode, _}}, py:pycall(py_values, identity, [Evil])),
    Harmless = {'$erlport.opaque', python, py:func(pickle, dumps, [[1, 2]])},
    ?assertError({py, {decode, _}}, py:len(Harmless)),
    ?assertNot(filelib:is_dir(Directory)).

a_pool_may_read_any_pickle(Config) ->
    {ok, _} = py:start_pool(trusting, (pool(Config))#{size => 1, pickle => any}),
    Pickle = {'$erlport.opaque', python, py:func(pickle, dumps, [[1, 2]])},
    ?assertEqual(2, py:func(builtins, len, [Pickle], #{pool => trusting})),
    Junk = {'$erlport.opaque', python, <<"junk">>},
    ?assertError({py, {decode, _}}, py:func(builtins, len, [Junk], #{pool => trusting})),
    ?assertEqual(3, py:func(operator, add, [1, 2], #{pool => trusting})).

%%% References

references(Worker) ->
    case [Count || #{worker := W, references := Count} <- py:workers(), W =:= Worker] of
        [Count] -> Count;
        [] -> gone
    end.

kept(Options) -> py:func(py_values, 'Kept', [<<"name">>], Options).

%% A worker and its living objects, as Python counts them.
living(Worker) -> py:func(py_values, living, [], #{worker => Worker}).

what_can_not_be_pickled_is_a_reference(_Config) ->
    [
        {Name, true} = {Name, is_ref(Made)}
     || {Name, Made} <- [
            {generator, py:func(py_values, generator)},
            {lock, py:func(threading, 'Lock')},
            {module, py:const(math)},
            {iterator, py:iter([1])},
            {file, py:open(<<"/dev/null">>)},
            {memoryview, py:memoryview({bytes, <<"a">>})}
        ]
    ],
    Generator = py:func(py_values, generator),
    ?assertEqual(1, py:next(Generator)),
    ?assertEqual([2], py:pylist(Generator)),
    ?assertEqual(3.0, py:method(py:const(math), sqrt, [9])),
    ?assertEqual(true, py:method(py:func(threading, 'Lock'), acquire)).

a_reference_works_at_every_depth(_Config) ->
    Reference = py:func(builtins, list, [[1]], #{return => ref}),
    ?assertEqual("[[[1]], ([1],), {'key': [1]}, [({'key': [[1]]},)], {1: {2: ([1], [[1]])}}]",
        py:func(py_values, representation, [places(Reference)])),
    [[One], {Two} | _] = py:func(py_values, wrapped, [<<"iter([])">>]),
    ?assert(is_ref(One) andalso is_ref(Two)),
    ?assertEqual([], py:pylist(One)).

a_call_with_a_reference_goes_to_its_worker(_Config) ->
    [
        begin
            Reference = py:func(py_values, generator, [], #{worker => Worker}),
            {'$py.ref', Worker, 1, _} = Reference,
            [
                ?assertEqual(OsPid, py:func(py_values, 'pid', [], [], #{worker => Worker}))
             || #{worker := W, os_pid := OsPid} <- py:workers(), W =:= Worker
            ],
            [?assertEqual("generator", py:func(py_values, type_name, [Reference])) || _ <- lists:seq(1, 10)],
            ?assertEqual("dict", py:func(py_values, type_name, [#{a => [Reference]}])),
            ?assertEqual(1, py:next(Reference))
        end
     || #{worker := Worker} <- py:workers()
    ].

references_of_two_workers_do_not_meet(_Config) ->
    [#{worker := One}, #{worker := Two}] = py:workers(),
    A = py:func(py_values, generator, [], #{worker => One}),
    B = py:func(py_values, generator, [], #{worker => Two}),
    ?assertError({py, {stale_reference, _}}, py:func(py_values, identity, [[A, B]])),
    ?assertError({py, {stale_reference, _}}, py:func(py_values, type_name, [A], #{worker => Two})),
    ?assertEqual(1, py:next(A)),
    ?assertEqual(1, py:next(B)).

a_released_reference_is_freed_and_stale(_Config) ->
    Reference = {_, Worker, _, _} = kept(#{}),
    Other = kept(#{worker => Worker}),
    ?assertEqual(2, references(Worker)),
    ?assertEqual(2, living(Worker)),
    ?assertEqual(ok, py:release(Reference)),
    py_eventually:equals(1, fun() -> references(Worker) end),
    py_eventually:equals(1, fun() -> living(Worker) end),
    ?assertError({py, {stale_reference, _}}, py:attr(Reference, name)),
    %% Once more is no error, and the other is as it was.
    ?assertEqual(ok, py:release([Reference])),
    ?assertEqual("name", py:attr(Other, name)),
    ?assertEqual(ok, py:release([Other])),
    py_eventually:equals(0, fun() -> references(Worker) end),
    py_eventually:equals(0, fun() -> living(Worker) end),
    ?assertEqual(ok, py:release([])).

a_reference_is_freed_when_its_owner_ends(_Config) ->
    Test = self(),
    Owner = spawn(fun() ->
        Test ! {made, kept(#{})},
        receive stop -> ok end
    end),
    Reference = receive {made, Made} -> Made end,
    {_, Worker, _, _} = Reference,
    %% It can be used by others as long as its owner lives.
    ?assertEqual("name", py:attr(Reference, name)),
    ?assertEqual(1, references(Worker)),
    exit(Owner, kill),
    py_eventually:equals(0, fun() -> references(Worker) end),
    py_eventually:equals(0, fun() -> living(Worker) end),
    ?assertError({py, {stale_reference, _}}, py:attr(Reference, name)).

a_reference_is_stale_after_its_worker_died(_Config) ->
    Reference = {_, Worker, 1, _} = kept(#{}),
    [OsPid] = [P || #{worker := W, os_pid := P} <- py:workers(), W =:= Worker],
    py_os_process:kill(OsPid),
    py_eventually:holds(fun() ->
        [] =/= [new || #{worker := W, os_pid := P, state := serving} <- py:workers(), W =:= Worker, P =/= OsPid]
    end),
    ?assertError({py, {stale_reference, _}}, py:attr(Reference, name)),
    ?assertEqual(0, references(Worker)),
    %% The next interpreter's references are told apart from the last one's.
    {_, Worker, 2, _} = Next = kept(#{worker => Worker}),
    ?assertEqual("name", py:attr(Next, name)),
    ?assertError({py, {stale_reference, _}}, py:attr(Reference, name)),
    ok = py:release(Reference),
    ?assertEqual("name", py:attr(Next, name)).

is_opaque({'$erlport.opaque', python, Pickle}) -> is_binary(Pickle);
is_opaque(_) -> false.

is_ref(Term) -> py_term:is_ref(Term).
