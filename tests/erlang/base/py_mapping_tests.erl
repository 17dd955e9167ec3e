%%% The mapping options: their flags, and that all who speak of them speak of the same.
-module(py_mapping_tests).

-include_lib("eunit/include/eunit.hrl").

each_mapping_option_is_a_bit_test_() ->
    [
        ?_assertEqual(Flags, py_mapping:flags(Options))
     || {Flags, Options} <- [
            {0, #{}},
            {0, #{strings => list, dicts => tagged, binaries => str, return => value}},
            {1, #{strings => binary}},
            {2, #{dicts => map}},
            {4, #{binaries => bytes}},
            {8, #{return => ref}},
            {15, #{strings => binary, dicts => map, binaries => bytes, return => ref}},
            {3, #{strings => binary, dicts => map, timeout => 5, pool => ml}},
            {0, #{haystack => false, frames => grid, matrices => false, arrays => opaque}},
            {32, #{haystack => true}},
            {64, #{frames => columns}},
            {128, #{frames => arrow}},
            {256, #{matrices => true}},
            {512, #{arrays => value}},
            {1024, #{arrays => shared}},
            {0, #{none => undefined}},
            {2048, #{none => nil}},
            {4096, #{none => none}},
            {355, #{strings => binary, dicts => map, haystack => true, frames => columns, matrices => true}}
        ]
    ].

what_a_call_says_stands_before_what_its_pool_says_test_() ->
    OfPool = py_mapping:flags(#{strings => binary, frames => columns, arrays => shared}),
    [
        ?_assertEqual(py_mapping:flags(Together), py_mapping:flags(OfPool, Options))
     || {Options, Together} <- [
            {#{}, #{strings => binary, frames => columns, arrays => shared}},
            {#{timeout => 5}, #{strings => binary, frames => columns, arrays => shared}},
            {#{strings => list}, #{frames => columns, arrays => shared}},
            {#{frames => arrow, arrays => opaque}, #{strings => binary, frames => arrow}},
            {#{return => ref, dicts => map}, #{strings => binary, frames => columns, arrays => shared, return => ref, dicts => map}}
        ]
    ].

a_pool_has_all_but_those_of_one_argument_or_one_result_test() ->
    {ok, Pool} = py_pool_options:check(#{}),
    ?assertEqual([binaries, return], lists:sort(maps:keys(py_mapping:table()) -- maps:keys(Pool))),
    ?assertEqual(lists:sort(maps:keys(py_mapping:of_pools())), lists:sort(maps:keys(py_mapping:of_pool(Pool)))).

%%% The types

the_types_of_options_are_those_of_the_tables_test_() ->
    {ok, Pool} = py_pool_options:check(#{}),
    {error, {unknown_option, nothing, OfCalls}} = py_call_options:check(#{nothing => 0}),
    {error, {unknown_option, nothing, OfEvals}} = py_session_options:call(#{nothing => 0}),
    [
        {lists:concat([Module, ":", Type]), ?_assertEqual(lists:sort(Keys), lists:sort(keys(Module, Type)))}
     || {Module, Type, Keys} <- [
            {py_mapping, mapping, maps:keys(py_mapping:table())},
            {py_pool_options, options, maps:keys(Pool)},
            {py_call_options, options, OfCalls},
            {py_session_options, call_options, OfEvals}
        ]
    ].

each_type_has_the_values_of_its_option_test_() ->
    [
        {atom_to_list(Option), ?_assertEqual(lists:sort([Value || {Value, _} <- Values]), lists:sort(values(Option)))}
     || {Option, Values} <- maps:to_list(py_mapping:table())
    ].

keys(Module, Type) -> [Key || {type, _, _, [{atom, _, Key}, _]} <- fields(Module, Type)].

fields(Module, Type) ->
    [Fields] = [Fields || {attribute, _, type, {Name, {type, _, map, Fields}, []}} <- forms(Module), Name =:= Type],
    Fields.

values(Option) ->
    [Value] = [Value || {type, _, _, [{atom, _, Key}, Value]} <- fields(py_mapping, mapping), Key =:= Option],
    case Value of
        {type, _, boolean, []} -> [true, false];
        {user_type, _, Name, []} ->
            [Members] = [M || {attribute, _, type, {Known, {type, _, union, M}, []}} <- forms(py_mapping), Known =:= Name],
            [Member || {atom, _, Member} <- Members]
    end.

forms(Module) ->
    {ok, {Module, [{abstract_code, {_, Forms}}]}} = beam_lib:chunks(code:which(Module), [abstract_code]),
    Forms.

%%% Python, the docs

python_has_the_same_flags_test() ->
    [File] = filelib:wildcard(filename:join([py_checkout:root(), "python", "erl", "**", "options.py"])),
    {ok, Source} = file:read_file(File),
    {match, Found} = re:run(Source, "^([A-Z_]+): Final = ([0-9]+)$", [global, multiline, {capture, all_but_first, list}]),
    Python = [{Name, list_to_integer(Flag)} || [Name, Flag] <- Found, lists:member(list_to_integer(Flag), flags())],
    ?assertEqual(lists:sort([{"PLAIN", 16} | named()]), lists:sort(Python)),
    Limits = [{Name, list_to_integer(Limit)} || [Name, Limit] <- Found, Name =:= "_ALL"],
    ?assertEqual([{"_ALL", lists:sum(flags())}], Limits).

flags() -> [16 | [Flag || {_, Flag} <- named()]].

%% `STRINGS_BINARY', and `HAYSTACK' of what is true or false.
named() ->
    [
        {string:uppercase(lists:concat([Option | lists:append([["_", Value] || Value =/= true])])), Flag}
     || {Option, Values} <- maps:to_list(py_mapping:table()), {Value, Flag} <- Values, Flag > 0
    ].

the_docs_have_a_row_for_each_with_its_values_test_() ->
    [
        {lists:concat([Page, " ", Option]), ?_assertEqual([], [Value || {Value, _} <- Values, not is_named(Value, row(Option, Page))])}
     || {Page, Table} <- [{"functions.md", py_mapping:table()}, {"servers.md", py_mapping:of_pools()}],
        {Option, Values} <- maps:to_list(Table)
    ].

row(Option, Page) ->
    {ok, Text} = file:read_file(filename:join([py_checkout:root(), "docs", Page])),
    {match, [Row]} = re:run(Text, ["^\\| `", atom_to_list(Option), "` \\|.*$"], [multiline, {capture, all, binary}]),
    Row.

is_named(Value, Row) -> binary:match(Row, iolist_to_binary(["`", atom_to_list(Value), "`"])) =/= nomatch.
