%%% What is said of arguments that Python refused.
-module(py_hint_tests).

-include_lib("eunit/include/eunit.hrl").

-define(KEYWORD, {python, 'builtins.TypeError', "f() got an unexpected keyword argument 'pool'", []}).
-define(VALUE, {python, 'builtins.AttributeError', "'dict' object has no attribute 'year'", []}).
-define(DATE, #{'__struct__' => 'Elixir.Date', year => 2024, month => 1, day => 1}).
-define(RANGE, #{'__struct__' => 'Elixir.Range', first => 1, last => 3, step => 1}).

hints_test_() ->
    [
        {Title, fun() ->
            Found = py_hint:cause(Reason, Args, none),
            ?assertEqual(lists:sort([Position || {Position, _} <- Expected]), lists:sort(maps:keys(Found))),
            [?assertNotEqual(nomatch, string:find(maps:get(Position, Found), Part), {Part, Found}) || {Position, Parts} <- Expected, Part <- Parts]
        end}
     || {Title, Reason, Args, Expected} <- [
            {"options that are a list", ?KEYWORD, [m, f, [1], [{pool, x}, {timeout, 5}, {k, 1}]],
                [{4, ["pool, timeout went to Python as keywords", "#{pool => ...}", "%{pool: ...}"]}]},
            {"one option", ?KEYWORD, [m, f, [1], [{worker, x}]], [{4, ["worker went to Python as a keyword of"]}]},
            {"keywords of Python's own", ?KEYWORD, [m, f, [1], [{size, 2}]], []},
            {"the same where that is not what Python says", ?VALUE, [m, f, [1], [{timeout, 5}]], []},
            {"a struct", ?VALUE, [m, f, [1, ?DATE]], [{3, ["the struct Date is a dict"]}]},
            {"several", ?VALUE, [m, f, [?RANGE, ?DATE, ?DATE]], [{3, ["the structs Date, Range are dicts"]}]},
            {"as a keyword", ?KEYWORD, [m, f, [], [{on, ?DATE}]], [{4, ["the struct Date"]}]},
            {"of a builtin", ?VALUE, [?DATE], [{1, ["the struct Date"]}]},
            {"that can't be read", {py, {decode, "a key of a map can't be hashed"}}, [m, f, [?DATE]], [{3, ["the struct Date"]}]},
            {"a failure of another kind", {py, timeout}, [m, f, [?DATE], [{timeout, 5}]], []},
            {"odd shapes", ?VALUE, [m, f, [1 | 2], [{a, b, c}, #{'__struct__' => 7}], #{}], []},
            {"a text that is none", {python, 'builtins.TypeError', foo, []}, [m, f, [], [{pool, x}]], []}
        ]
    ].

the_item_that_failed_is_shown_test() ->
    Failed = {python, 'builtins.ValueError', "math domain error", [{"f.py", 1, "f", ""}, {item, 2}]},
    ?assertEqual(#{3 => <<"item 2 is \"bad.csv\"">>}, py_hint:cause(Failed, [m, f, ["good.csv", "bad.csv"]], 3)),
    #{5 := Text} = py_hint:cause(Failed, [f, [], m, f, [1, binary:copy(<<"x">>, 1_000_000)]], 5),
    ?assert(byte_size(Text) < 1_000),
    ?assertEqual(#{}, py_hint:cause(Failed, [m, f, [1]], 3)),
    ?assertEqual(#{}, py_hint:cause({python, 'builtins.ValueError', "", []}, [m, f, [1]], 3)).
