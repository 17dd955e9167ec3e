%%% The lines that the documentation shows, typed as it shows them, each with its exact result.
-module(py_transcripts_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-export([suite/0, all/0, init_per_testcase/2, end_per_testcase/2]).
-export([
    versions_are_told_and_nothing_is_started_for_them/1,
    the_transcripts_give_what_they_show/1,
    builtins_give_what_the_documentation_shows/1,
    operators_give_what_the_documentation_shows/1,
    every_builtin_works_in_each_of_its_arities/1,
    every_operator_works_in_each_of_its_arities/1,
    no_builtin_or_operator_is_missing_or_untested/1,
    what_is_printed_appears_where_the_caller_prints/1
]).

suite() -> [{timetrap, {minutes, 5}}].

all() ->
    [
        versions_are_told_and_nothing_is_started_for_them,
        the_transcripts_give_what_they_show,
        builtins_give_what_the_documentation_shows,
        operators_give_what_the_documentation_shows,
        every_builtin_works_in_each_of_its_arities,
        every_operator_works_in_each_of_its_arities,
        no_builtin_or_operator_is_missing_or_untested,
        what_is_printed_appears_where_the_caller_prints
    ].

init_per_testcase(versions_are_told_and_nothing_is_started_for_them, Config) ->
    Config;
init_per_testcase(_, Config) ->
    ok = py_application:start([{default, #{size => 2, python_path => [?config(data_dir, Config)]}}]),
    Config.

end_per_testcase(_, _Config) -> py_application:stop().

%%% Section 1

versions_are_told_and_nothing_is_started_for_them(_Config) ->
    Before = 'py-util':'get-versions'(),
    ?assertEqual(
        [erlang, emulator, 'driver-version', lfe, erlport, py, python], [Key || {Key, _} <- Before]
    ),
    ?assertEqual(not_started, proplists:get_value(python, Before)),
    ?assertEqual(erlang:system_info(otp_release), proplists:get_value(erlang, Before)),
    [?assert(is_text(proplists:get_value(Key, Before))) || Key <- [emulator, 'driver-version', erlport, py]],
    Lfe = proplists:get_value(lfe, Before),
    ?assert(Lfe =:= undefined orelse is_text(Lfe)),
    ?assertEqual([], py_os_process:descendants()),
    ok = py_application:start(),
    [Version | _] = Lines = proplists:get_value(python, 'py-util':'get-versions'()),
    ?assert(lists:all(fun is_text/1, Lines)),
    ?assertMatch("3." ++ _, Version),
    ?assertEqual(py:const(sys, version), lists:append(lists:join("\n", Lines))).

the_transcripts_give_what_they_show(_Config) ->
    {ok, Cwd} = file:get_cwd(),
    Now = {"datetime", {2014, 12, 23, 23, 14, 37, 677463, undefined}},
    Later = {"datetime", {2014, 12, 23, 23, 21, 25, 714474, undefined}},
    Diff = py:sub(Later, Now),
    Range = py:range(7, 42),
    check([
        {"getcwd", py:func(os, getcwd), Cwd},
        {"now", py:func('datetime.datetime', now), fun is_now/1},
        {"isfile", py:func('os.path', isfile, [<<"/tmp">>]), false},
        {"isdir", py:func('os.path', isdir, [<<"/tmp">>]), true},
        {"int with a base", py:func(builtins, int, [<<"101010">>], [{base, 2}]), 42},
        {"pi", py:const(math, pi), 3.141592653589793},
        {"pi as a float", py:const(math, pi, float), 3.141592653589793},
        {"pi as an int", py:const(math, pi, int), 3},
        {"pi as a str", py:const(math, pi, str), "3.141592653589793"},
        {"an empty dict", py:init(builtins, dict), {"dict", []}},
        {"an empty UserDict", py:init(collections, 'UserDict'), {"UserDict", []}},
        {"a date", py:init(datetime, date, [1923, 4, 2]), {"date", {1923, 4, 2}}},
        {"strftime", py:method(Now, strftime, [<<"%Y.%m.%d %H:%M:%S">>]), "2014.12.23 23:14:37"},
        {"year", py:attr(Now, year), 2014},
        {"microsecond", py:attr(Now, microsecond), 677463},
        {"a difference of times", Diff, {"timedelta", {0, 408, 37011}}},
        {"a flat timedelta is taken", py:attr({"timedelta", 0, 408, 37011}, seconds), 408},
        {"seconds", py:attr(Diff, seconds), 408},
        {"minutes", py:attr(Diff, seconds) / 60, 6.8},
        {"pi by its path", py:const('math.pi'), 3.141592653589793},
        {"now by its path", py:func('datetime.datetime.now'), fun is_now/1},
        {"pow by its path", py:func('math.pow', [2, 16]), 65536.0},
        {"int by its path", py:func('builtins.int', [<<"101010">>], [{base, 2}]), 42},
        {"UserDict by its path", py:init('collections.UserDict'), {"UserDict", []}},
        {"UserDict in the order of its keys", py:init('collections.UserDict', [], [{"a", 1}, {"b", 2}]),
            {"UserDict", [{"a", 1}, {"b", 2}]}},
        {"ErlPort's call with a dotted function", py:pycall(datetime, 'datetime.now'), fun is_now/1},
        {"ErlPort's call with arguments", py:pycall(datetime, datetime, [1923, 4, 2, 0, 0, 0]),
            {"datetime", {1923, 4, 2, 0, 0, 0, 0, undefined}}},
        {"dict without", py:dict(), {"dict", []}},
        {"dict with keywords", py:dict([{"a", 1}, {"b", 2}]), {"dict", [{"a", 1}, {"b", 2}]}},
        {"int with keywords", py:int(<<"101010">>, [{base, 2}]), 42},
        {"any", py:any([true, true, false]), true},
        {"all, not", py:all([true, false]), false},
        {"all", py:all([true, true]), true},
        {"a large power", py:pow(6, 42), 481229803398374426442198455156736},
        {"round", py:round(0.666666667, 5), 0.66667},
        {"a range", Range, fun is_opaque/1},
        {"its length", py:len(Range), 35},
        {"its elements", py:pylist(Range), lists:seq(7, 41)},
        {"add", py:add(37, 5), 42},
        {"mul", py:mul(7, 6), 42},
        {"sub", py:sub(-108, -150), 42},
        {"truediv", py:truediv(462, 11), 42.0},
        {"floordiv", py:floordiv(462, 11), 42},
        {"gt", py:gt(7, 6), true},
        {"le", py:le(7, 6), false},
        {"eq", py:eq(42, 42), true},
        {"and-", py:'and-'(60, 13), 12},
        {"or-", py:'or-'(60, 13), 61},
        {"xor", py:'xor'(60, 13), 49},
        {"inv", py:inv(60), -61},
        {"rshift", py:rshift(60, 2), 15},
        {"lshift", py:lshift(60, 2), 240},
        {"an empty list", py:pylist(), []},
        {"a list", py:pylist([1, 2, 3, 4]), [1, 2, 3, 4]}
    ]).

%%% Section 3

builtins_give_what_the_documentation_shows(_Config) ->
    check([
        {"abs", py:abs(-3), 3},
        {"bin", py:bin(5), "0b101"},
        {"bool", py:bool(), false},
        {"callable", py:callable(1), false},
        {"chr", py:chr(97), "a"},
        {"divmod", py:divmod(7, 3), {2, 1}},
        {"float", py:float(<<"1.5">>), 1.5},
        {"format", py:format(1), "1"},
        {"hex", py:hex(255), "0xff"},
        {"oct", py:oct(8), "0o10"},
        {"len of a list", py:len([1, 2]), 2},
        {"len of a str beyond ASCII", py:len(<<"é"/utf8>>), 1},
        {"len of a dict", py:len(py:dict([{"a", 1}])), 1},
        {"max", py:max([1, 5, 2]), 5},
        {"min", py:min(3, 1, 2), 1},
        {"ord", py:ord(<<"a">>), 97},
        {"pow with a modulus", py:pow(2, 10, 1000), 24},
        {"sorted", py:sorted([3, 1, 2]), [1, 2, 3]},
        {"str of a number", py:str(12), "12"},
        {"str of a str", py:str(<<"abc">>), "abc"},
        {"ascii", py:ascii(<<"a">>), "'a'"},
        {"repr", py:repr([1, 2]), "[1, 2]"},
        {"sum with a start", py:sum([1, 2], 3), 6},
        {"tuple", py:tuple([1, 2]), {1, 2}},
        {"bytes", py:bytes(2), <<0, 0>>},
        {"ptype", py:ptype(1), int},
        {"isinstance", py:isinstance(1, py:type(1)), true},
        {"enumerate", py:pylist(py:enumerate([7, 8])), [{0, 7}, {1, 8}]},
        {"next", py:next(py:iter([5])), 5},
        {"filter", py:pylist(py:filter(undefined, [0, 1])), [1]},
        {"map", py:pylist(py:map(py:const(math, sqrt), [1, 4])), [1.0, 2.0]},
        {"help", py:help(<<"math.sqrt">>), fun(Text) -> string:find(Text, "square root") =/= nomatch end}
    ]).

every_builtin_works_in_each_of_its_arities(Config) -> check_calls(builtins(Config)).

%% {builtin, arguments, result or predicate}. Evaluated while the application runs.
builtins(Config) ->
    File = filename:join(?config(priv_dir, Config), "a_file"),
    ok = file:write_file(File, "first\nsecond\n"),
    Path = unicode:characters_to_binary(File),
    Sqrt = py:const(math, sqrt),
    Pow = py:const(math, pow),
    Int = py:type(1),
    Namespace = py:init(types, 'SimpleNamespace', [], [{a, 1}]),
    [
        {abs, [-3.5], 3.5},
        {all, [[]], true},
        {any, [[]], false},
        {ascii, [<<"é"/utf8>>], "'\\xe9'"},
        {bin, [-5], "-0b101"},
        {bool, [], false},
        {bool, [[1]], true},
        {bytearray, [], {"bytearray", <<>>}},
        {bytearray, [2], {"bytearray", <<0, 0>>}},
        {bytearray, [<<"é"/utf8>>, <<"latin-1">>], {"bytearray", <<233>>}},
        {bytearray, [<<"aé"/utf8>>, <<"ascii">>, <<"ignore">>], {"bytearray", <<"a">>}},
        {bytes, [], <<>>},
        {bytes, [[1, 2]], <<1, 2>>},
        {bytes, [<<"é"/utf8>>, <<"latin-1">>], <<233>>},
        {bytes, [<<"aé"/utf8>>, <<"ascii">>, <<"ignore">>], <<"a">>},
        {callable, [Sqrt], true},
        {chr, [128013], "🐍"},
        {compile, [<<"1 + 1">>, <<"<text>">>, <<"eval">>], fun evaluates_to_2/1},
        {compile, [<<"1 + 1">>, <<"<text>">>, <<"eval">>, [{dont_inherit, true}]], fun evaluates_to_2/1},
        {compile, [<<"1 + 1">>, <<"<text>">>, <<"eval">>, 0], fun evaluates_to_2/1},
        {complex, [], {"complex", {0.0, 0.0}}},
        {complex, [1], {"complex", {1.0, 0.0}}},
        {complex, [1, -2], {"complex", {1.0, -2.0}}},
        {dict, [], {"dict", []}},
        {dict, [[{a, 1}]], {"dict", [{"a", 1}]}},
        {dict, [#{a => 1}], {"dict", [{"a", 1}]}},
        {dict, [[{1, 2}]], {"dict", [{1, 2}]}},
        {dict, [[]], {"dict", []}},
        {dict, [{"dict", [{"a", 1}]}], {"dict", [{"a", 1}]}},
        {dir, [[]], fun(Names) -> lists:member("append", Names) end},
        {divmod, [-7, 3], {-3, 2}},
        {enumerate, [[7, 8]], fun(E) -> py:pylist(E) =:= [{0, 7}, {1, 8}] end},
        {enumerate, [[7, 8], 5], fun(E) -> py:pylist(E) =:= [{5, 7}, {6, 8}] end},
        {filter, [Sqrt, [0, 4]], fun(F) -> py:pylist(F) =:= [4] end},
        {float, [], 0.0},
        {float, [3], 3.0},
        {format, [1.5], "1.5"},
        {format, [7, <<"03d">>], "007"},
        {frozenset, [], {"frozenset", []}},
        {frozenset, [[1, 1]], {"frozenset", [1]}},
        {getattr, [3, real], 3},
        {getattr, [3, <<"nothing">>, 7], 7},
        {hasattr, [3, <<"real">>], true},
        {hash, [7], 7},
        {help, [], ok},
        {help, [Int], fun(Text) -> string:find(Text, "class int") =/= nomatch end},
        {hex, [-1], "-0x1"},
        {id, [undefined], fun is_integer/1},
        {int, [<<" 12 ">>], 12},
        {int, [<<"ff">>, 16], 255},
        {int, [<<"ff">>, #{base => 16}], 255},
        {isinstance, [<<"a">>, Int], false},
        {issubclass, [py:type(true), Int], true},
        {iter, [[5]], fun(I) -> py:next(I) =:= 5 end},
        {iter, [Int, 1], fun(I) -> py:next(I) =:= 0 end},
        {len, [{1, 2, 3}], 3},
        {map, [Sqrt, [4, 9]], fun(M) -> py:pylist(M) =:= [2.0, 3.0] end},
        {map, [Pow, [2, 3], [3, 2]], fun(M) -> py:pylist(M) =:= [8.0, 9.0] end},
        {max, [[1, 2]], 2},
        {max, [1, 2], 2},
        {max, [1, 2, 3], 3},
        {max, [1, 2, 3, 4], 4},
        {memoryview, [{bytes, <<"ab">>}], fun(View) -> is_ref(View) andalso py:method(View, tobytes) =:= <<"ab">> end},
        {min, [[1, 2]], 1},
        {min, [1, 2], 1},
        {min, [1, 2, 3], 1},
        {min, [4, 3, 2, 1], 1},
        {next, [py:iter([5])], 5},
        {next, [py:iter([]), 7], 7},
        {object, [], fun is_object/1},
        {oct, [-8], "-0o10"},
        {open, [Path], fun(Opened) -> py:method(Opened, read) =:= "first\nsecond\n" end},
        {open, [Path, <<"rb">>], fun(Opened) -> py:pylist(Opened) =:= [<<"first\n">>, <<"second\n">>] end},
        {open, [Path, [{mode, <<"rb">>}]], fun(Opened) -> py:next(Opened) =:= <<"first\n">> end},
        {ord, [<<"🐍"/utf8>>], 128013},
        {pow, [2, -1], 0.5},
        {pow, [3, -1, 7], 5},
        {print, [<<"to the log of the test">>], undefined},
        {print, [<<"to the log">>, [{'end', <<" of the test\n">>}]], undefined},
        {print, [<<"to the log">>, <<"of the test">>], undefined},
        {property, [Sqrt], fun is_object/1},
        {property, [[{doc, <<"why">>}]], fun(P) -> py:attr(P, '__doc__') =:= "why" end},
        {range, [3], fun(R) -> py:pylist(R) =:= [0, 1, 2] end},
        {range, [1, 3], fun(R) -> py:pylist(R) =:= [1, 2] end},
        {range, [3, 0, -1], fun(R) -> py:pylist(R) =:= [3, 2, 1] end},
        {repr, [<<"a">>], "'a'"},
        {reversed, [[1, 2]], fun(R) -> py:pylist(R) =:= [2, 1] end},
        {round, [2.6], 3},
        {round, [2.65, 1], 2.6},
        {set, [], {"set", []}},
        {set, [[1, 1]], {"set", [1]}},
        {slice, [1], fun(Slice) -> py:getitem([7, 8, 9], Slice) =:= [7] end},
        {slice, [1, 3], fun(Slice) -> py:getitem([7, 8, 9], Slice) =:= [8, 9] end},
        {slice, [0, 3, 2], fun(Slice) -> py:getitem([7, 8, 9], Slice) =:= [7, 9] end},
        {sorted, [{3, 1}], [1, 3]},
        {sorted, [[1, 3], [{reverse, true}]], [3, 1]},
        {str, [], ""},
        {str, [1.5], "1.5"},
        {str, [{bytes, <<"é"/utf8>>}, <<"utf-8">>], "é"},
        {str, [{bytes, <<"é"/utf8>>}, [{encoding, <<"utf-8">>}]], "é"},
        {sum, [[0.5, 1]], 1.5},
        {sum, [[1], 0.5], 1.5},
        {tuple, [], {}},
        {tuple, [[1]], {1}},
        {type, [1], fun is_opaque/1},
        {type, [<<"Point">>, {}, py:dict([{x, 1}])], fun(T) -> py:attr(T, x) =:= 1 end},
        {vars, [Namespace], {"dict", [{"a", 1}]}},
        {zip, [[1, 2]], fun(Z) -> py:pylist(Z) =:= [{1}, {2}] end},
        {zip, [[1, 2], [3, 4]], fun(Z) -> py:pylist(Z) =:= [{1, 3}, {2, 4}] end},
        {zip, [[1], [2], [3]], fun(Z) -> py:pylist(Z) =:= [{1, 2, 3}] end},
        {pylist, [], []},
        {pylist, [{1, 2}], [1, 2]},
        {ptype, [Namespace], 'SimpleNamespace'},
        {pdir, [1], ok},
        {prepr, [py:range(3)], ok},
        {pvars, [Namespace], ok}
    ].

what_is_printed_appears_where_the_caller_prints(_Config) ->
    Namespace = py:init(types, 'SimpleNamespace', [], [{a, 1}, {b, <<"é"/utf8>>}]),
    prints("hi\n", undefined, fun() -> py:print(<<"hi">>) end),
    prints("hi!", undefined, fun() -> py:print(<<"hi">>, [{'end', <<"!">>}]) end),
    prints("a 🐍\n", undefined, fun() -> py:print(<<"a">>, <<"🐍"/utf8>>) end),
    prints("range(0, 3)\n", ok, fun() -> py:prepr(py:range(3)) end),
    prints("a = 1\nb = \"é\"\n", ok, fun() -> py:pvars(Namespace) end),
    {ok, Leader} = py_output:of_call(fun() -> py:pdir([]) end),
    Lines = string:split(py_output:text(Leader), "\n", all),
    [?assert(lists:member(Name, Lines)) || Name <- ["append", "__len__", "sort"]],
    py_output:stop(Leader).

prints(Text, Result, Fun) ->
    {Value, Leader} = py_output:of_call(Fun),
    ?assertEqual(Result, Value),
    py_eventually:equals(Text, fun() -> py_output:text(Leader) end),
    py_output:stop(Leader).

%%% Section 4

operators_give_what_the_documentation_shows(_Config) ->
    Now = {"datetime", {2014, 12, 23, 23, 14, 37, 677463, undefined}},
    check([
        {"mod", py:mod(7, 3), 1},
        {"neg", py:neg(7), -7},
        {"is-not", py:'is-not'(1, undefined), true},
        {"concat", py:concat([1], [2]), [1, 2]},
        {"contains", py:contains([1, 2, 3], 2), true},
        {"countOf", py:countOf([1, 1, 2], 1), 2},
        {"indexOf", py:indexOf([1, 2, 3], 3), 2},
        {"getitem", py:getitem([7, 8], 1), 8},
        {"setitem", py:setitem([1, 2, 3], 0, 9), [9, 2, 3]},
        {"attrgetter", py:func(py:attrgetter(year), [Now]), 2014},
        {"methodcaller", py:func(py:methodcaller(<<"upper">>), [<<"abc">>]), "ABC"},
        {"itemgetter", py:func(py:itemgetter(1), [[7, 8]]), 8}
    ]).

every_operator_works_in_each_of_its_arities(_Config) -> check_calls(operators()).

operators() ->
    Namespace = py:init(types, 'SimpleNamespace', [], [{a, 1}]),
    Kept = py:func(types, 'SimpleNamespace', [], [{a, 1}], #{return => ref}),
    [
        {lt, [1, 2], true},
        {le, [2, 2], true},
        {eq, [1, 1.0], true},
        {ne, [1, 2], true},
        {ge, [1, 2], false},
        {gt, [1, 2], false},
        {'not-', [0], true},
        {truth, [<<"a">>], true},
        {'is-', [undefined, undefined], true},
        {'is-not', [undefined, undefined], false},
        {add, [<<"a">>, <<"b">>], "ab"},
        {floordiv, [-7, 2], -4},
        {mod, [-7, 3], 2},
        {mul, [[1], 2], [1, 1]},
        {sub, [5, 3], 2},
        {truediv, [1, 2], 0.5},
        {matmul, [py:init(py_matrix, 'Scalar', [6]), 7], 42},
        {index, [true], 1},
        {neg, [-7], 7},
        {pos, [true], 1},
        {'and-', [6, 3], 2},
        {'or-', [6, 3], 7},
        {'xor', [6, 3], 5},
        {lshift, [1, 100], 1 bsl 100},
        {rshift, [1 bsl 100, 99], 2},
        {inv, [0], -1},
        {invert, [-1], 0},
        {concat, [{1}, {2}], {1, 2}},
        {contains, [<<"abc">>, <<"b">>], true},
        {countOf, [<<"abca">>, <<"a">>], 2},
        {getitem, [py:dict([{a, 1}]), <<"a">>], 1},
        {indexOf, [[7, 8], 8], 1},
        {length_hint, [[1, 2]], 2},
        {length_hint, [py:enumerate([1]), 7], 7},
        {attrgetter, [year], fun is_opaque/1},
        {attrgetter, [<<"a">>], fun(F) -> py:func(F, [Namespace]) =:= 1 end},
        {itemgetter, [<<"a">>], fun(F) -> py:func(F, [py:dict([{a, 1}])]) =:= 1 end},
        {itemgetter, [1], fun(F) -> py:func(F, [[7, 8]]) =:= 8 end},
        {methodcaller, [lower], fun(F) -> py:func(F, [<<"A">>]) =:= "a" end},
        {methodcaller, [<<"split">>, <<",">>], fun(F) -> py:func(F, [<<"a,b">>]) =:= ["a", "b"] end},
        {setitem, [py:dict([{a, 1}]), <<"a">>, 2], {"dict", [{"a", 2}]}},
        {delitem, [[1, 2, 3], 1], [1, 3]},
        {delitem, [py:dict([{a, 1}]), <<"a">>], {"dict", []}},
        {setattr, [Namespace, a, 2], fun(Changed) -> py:vars(Changed) =:= {"dict", [{"a", 2}]} end},
        {setattr, [Kept, <<"a">>, 2], fun(Changed) -> py:attr(Changed, a) =:= 2 andalso py:attr(Kept, a) =:= 1 end}
    ].

%%% Both lists are whole

%% The documentation's lists, for the reader's eye: {name, arities}.
documented() ->
    [
        {abs, [1]}, {all, [1]}, {any, [1]}, {ascii, [1]}, {bin, [1]}, {bool, [0, 1]}, {bytearray, [0, 1, 2, 3]},
        {bytes, [0, 1, 2, 3]}, {callable, [1]}, {chr, [1]}, {compile, [3, 4]}, {complex, [0, 1, 2]}, {dict, [0, 1]},
        {dir, [1]}, {divmod, [2]}, {enumerate, [1, 2]}, {filter, [2]}, {float, [0, 1]}, {format, [1, 2]},
        {frozenset, [0, 1]}, {getattr, [2, 3]}, {hasattr, [2]}, {hash, [1]}, {help, [0, 1]}, {hex, [1]}, {id, [1]},
        {int, [1, 2]}, {isinstance, [2]}, {issubclass, [2]}, {iter, [1, 2]}, {len, [1]}, {map, [2, 3]},
        {max, [1, 2, 3, 4]}, {memoryview, [1]}, {min, [1, 2, 3, 4]}, {next, [1, 2]}, {object, [0]}, {oct, [1]},
        {open, [1, 2]}, {ord, [1]}, {pow, [2, 3]}, {print, [1, 2]}, {property, [1]}, {range, [1, 2, 3]}, {repr, [1]},
        {reversed, [1]}, {round, [1, 2]}, {set, [0, 1]}, {slice, [1, 2, 3]}, {sorted, [1, 2]}, {str, [0, 1, 2]},
        {sum, [1, 2]}, {tuple, [0, 1]}, {type, [1, 3]}, {vars, [1]}, {zip, [1, 2, 3]},
        {pylist, [0, 1]}, {pdir, [1]}, {pvars, [1]}, {ptype, [1]}, {prepr, [1]},
        {lt, [2]}, {le, [2]}, {eq, [2]}, {ne, [2]}, {ge, [2]}, {gt, [2]}, {'not-', [1]}, {truth, [1]}, {'is-', [2]},
        {'is-not', [2]}, {add, [2]}, {floordiv, [2]}, {mod, [2]}, {mul, [2]}, {sub, [2]}, {truediv, [2]}, {matmul, [2]},
        {index, [1]}, {neg, [1]}, {pos, [1]}, {'and-', [2]}, {'or-', [2]}, {'xor', [2]}, {lshift, [2]}, {rshift, [2]},
        {inv, [1]}, {invert, [1]}, {concat, [2]}, {contains, [2]}, {countOf, [2]}, {getitem, [2]}, {indexOf, [2]},
        {length_hint, [1, 2]}, {attrgetter, [1]}, {itemgetter, [1]}, {methodcaller, [1, 2]}, {setitem, [3]},
        {delitem, [2]}, {setattr, [3]}
    ].

%% Everything else that `py' exports.
api() ->
    [
        'add-server', 'get-python-pids', start, stop, restart, start_pool, stop_pool, restart_pool, child_spec, resize, workers, add_worker, remove_worker, restart_worker, reload, stats,
        status, doctor, top, with_worker, func, init, const, attr, method, pycall, release, cast,
        stream, stream_next, stream_fold, stream_close, source, call_all, call_n, async, await, yield, cancel, scatter, gather, gather_all, fold_done, pmap, preduce, pfold, pmap_reduce,
        send_request, check_response, receive_response, wait_response,
        share, value, split, shared_memory, start_gateway, stop_gateway, gateways
    ].

no_builtin_or_operator_is_missing_or_untested(Config) ->
    Documented = lists:sort([{Name, Arity} || {Name, Arities} <- documented(), Arity <- Arities]),
    Exported = [FA || {F, _} = FA <- py:module_info(exports), F =/= module_info, not lists:member(F, api())],
    Called = [{F, length(Args)} || {F, Args, _} <- builtins(Config) ++ operators()],
    ?assertEqual(Documented, lists:sort(Exported)),
    ?assertEqual(Documented, lists:usort(Called)).

%%% Checks

check_calls(Table) ->
    check([{lists:flatten(io_lib:format("py:~w(~0tp)", [F, Args])), fun() -> apply(py, F, Args) end, Expected}
        || {F, Args, Expected} <- Table]).

%% Every line is looked at, and those that differ are shown together.
check(Table) ->
    case [Line || {Name, Made, Expected} <- Table, Line <- differs(Name, Made, Expected)] of
        [] -> ok;
        Differences -> ct:fail("~tp", [Differences])
    end.

differs(Name, Made, Expected) when is_function(Made, 0) ->
    try Made() of
        Value -> differs(Name, Value, Expected)
    catch
        Class:Reason -> [{Name, {Class, Reason}}]
    end;
differs(Name, Value, Expected) when is_function(Expected, 1) ->
    try Expected(Value) of
        true -> [];
        Other -> [{Name, Value, Other}]
    catch
        Class:Reason -> [{Name, Value, {Class, Reason}}]
    end;
differs(_Name, Value, Value) ->
    [];
differs(Name, Value, Expected) ->
    [{Name, Value, {expected, Expected}}].

is_text(Text) -> io_lib:printable_unicode_list(Text) andalso Text =/= [].

%% Within a day of this machine's local time.
is_now({"datetime", {Year, Month, Day, Hour, Minute, Second, Microsecond, undefined}}) when
    Microsecond >= 0, Microsecond < 1_000_000
->
    Seconds = calendar:datetime_to_gregorian_seconds({{Year, Month, Day}, {Hour, Minute, Second}}),
    abs(Seconds - calendar:datetime_to_gregorian_seconds(calendar:local_time())) < 86_400;
is_now(_) ->
    false.

is_opaque({'$erlport.opaque', python, Pickle}) -> is_binary(Pickle);
is_opaque(_) -> false.

is_ref(Term) -> py_term:is_ref(Term).

is_object(Term) -> is_opaque(Term) orelse is_ref(Term).

evaluates_to_2(Code) -> is_ref(Code) andalso py:func(builtins, eval, [Code]) =:= 2.
