%%% The forms of the calls, their options, their errors, and the application's life.
-module(py_calls_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-export([suite/0, all/0, init_per_testcase/2, end_per_testcase/2]).
-export([
    func_takes_each_of_its_forms/1,
    init_takes_each_of_its_forms/1,
    const_takes_each_of_its_forms/1,
    attr_and_method_take_each_of_their_forms/1,
    pycall_takes_each_of_its_forms/1,
    names_are_atoms_or_binaries_dotted_and_dashed/1,
    a_callable_stands_where_a_path_can/1,
    keywords_come_in_each_form/1,
    pool_and_worker_say_where_a_call_runs/1,
    strings_and_dicts_say_what_a_result_looks_like/1,
    binaries_say_what_a_binary_argument_is/1,
    return_ref_keeps_the_result_in_python/1,
    timeout_bounds_a_call/1,
    a_wrong_argument_is_badarg_and_nothing_is_sent/1,
    the_shell_says_which_argument_is_wrong_and_why/1,
    what_is_missing_is_pythons_own_error/1,
    the_shell_prints_the_python_traceback/1,
    an_unknown_pool_or_worker_is_named/1,
    starting_twice_is_starting_once/1,
    stopping_leaves_no_python_and_no_pool/1,
    a_call_without_the_application_says_so/1,
    restart_starts_new_interpreters/1,
    a_bad_configuration_starts_nothing_and_is_explained/1,
    erl_s_py_starts_the_application/1
]).

suite() -> [{timetrap, {minutes, 5}}].

all() ->
    [
        func_takes_each_of_its_forms,
        init_takes_each_of_its_forms,
        const_takes_each_of_its_forms,
        attr_and_method_take_each_of_their_forms,
        pycall_takes_each_of_its_forms,
        names_are_atoms_or_binaries_dotted_and_dashed,
        a_callable_stands_where_a_path_can,
        keywords_come_in_each_form,
        pool_and_worker_say_where_a_call_runs,
        strings_and_dicts_say_what_a_result_looks_like,
        binaries_say_what_a_binary_argument_is,
        return_ref_keeps_the_result_in_python,
        timeout_bounds_a_call,
        a_wrong_argument_is_badarg_and_nothing_is_sent,
        the_shell_says_which_argument_is_wrong_and_why,
        what_is_missing_is_pythons_own_error,
        the_shell_prints_the_python_traceback,
        an_unknown_pool_or_worker_is_named,
        starting_twice_is_starting_once,
        stopping_leaves_no_python_and_no_pool,
        a_call_without_the_application_says_so,
        restart_starts_new_interpreters,
        a_bad_configuration_starts_nothing_and_is_explained,
        erl_s_py_starts_the_application
    ].

init_per_testcase(Case, Config) when
    Case =:= a_call_without_the_application_says_so;
    Case =:= a_bad_configuration_starts_nothing_and_is_explained;
    Case =:= erl_s_py_starts_the_application
->
    Config;
init_per_testcase(_, Config) ->
    ok = py_application:start([{default, #{size => 2, python_path => [?config(data_dir, Config)]}}]),
    Config.

end_per_testcase(_, _Config) -> py_application:stop().

%%% Forms

func_takes_each_of_its_forms(_Config) ->
    Binary = #{strings => binary},
    Dash = py_shapes,
    F = with_a_dash,
    Path = 'py_shapes.with_a_dash',
    ?assertEqual([[], []], py:func(Path)),
    ?assertEqual([[], []], py:func(Dash, F)),
    ?assertEqual([[1], []], py:func(Path, [1])),
    ?assertEqual([[], []], py:func(Path, Binary)),
    ?assertEqual([[1], []], py:func(Dash, F, [1])),
    ?assertEqual([[], []], py:func(Dash, F, Binary)),
    ?assertEqual([[1], [{"a", 2}]], py:func(Path, [1], [{a, 2}])),
    ?assertEqual([[<<"x">>], []], py:func(Path, [<<"x">>], Binary)),
    ?assertEqual([[1], [{"a", 2}]], py:func(Dash, F, [1], [{a, 2}])),
    ?assertEqual([[<<"x">>], []], py:func(Dash, F, [<<"x">>], Binary)),
    ?assertEqual([[1], [{<<"a">>, 2}]], py:func(Path, [1], [{a, 2}], Binary)),
    ?assertEqual([[1], [{<<"a">>, 2}]], py:func(Dash, F, [1], [{a, 2}], Binary)),
    %% A list of small integers is a list of arguments too.
    ?assertEqual([[104, 105], []], py:func(Path, "hi")),
    ?assertEqual([[], []], py:func(Dash, F, [], [])),
    ?assertEqual([[], []], py:func(Dash, F, [], [], #{})).

init_takes_each_of_its_forms(_Config) ->
    Pairs = {"UserDict", [{"a", 1}]},
    Binary = #{strings => binary},
    ?assertEqual({"UserDict", []}, py:init('collections.UserDict')),
    ?assertEqual({"UserDict", []}, py:init(collections, 'UserDict')),
    ?assertEqual({"date", {1923, 4, 2}}, py:init('datetime.date', [1923, 4, 2])),
    ?assertEqual({"UserDict", []}, py:init('collections.UserDict', Binary)),
    ?assertEqual({"date", {1923, 4, 2}}, py:init(datetime, date, [1923, 4, 2])),
    ?assertEqual({"UserDict", []}, py:init(collections, 'UserDict', Binary)),
    ?assertEqual(Pairs, py:init('collections.UserDict', [], [{a, 1}])),
    ?assertEqual({"date", {1923, 4, 2}}, py:init('datetime.date', [1923, 4, 2], Binary)),
    ?assertEqual(Pairs, py:init(collections, 'UserDict', [], [{a, 1}])),
    ?assertEqual({"date", {1923, 4, 2}}, py:init(datetime, date, [1923, 4, 2], Binary)),
    ?assertEqual({"UserDict", [{<<"a">>, 1}]}, py:init('collections.UserDict', [], [{a, 1}], Binary)),
    ?assertEqual({"UserDict", [{<<"a">>, 1}]}, py:init(collections, 'UserDict', [], [{a, 1}], Binary)).

const_takes_each_of_its_forms(_Config) ->
    ?assertEqual(42, py:const('py_shapes.constant')),
    ?assertEqual(42, py:const(py_shapes, constant)),
    ?assertEqual(42, py:const('py_shapes.constant', #{})),
    ?assertEqual("42", py:const(py_shapes, constant, str)),
    ?assertEqual(42.0, py:const(py_shapes, constant, <<"float">>)),
    ?assertEqual({"Decimal", "42"}, py:const(py_shapes, constant, 'decimal.Decimal')),
    ?assertEqual(<<"posix">>, py:const(os, name, #{strings => binary})),
    %% What a path names need not be a value of this world.
    ?assert(py_term:is_ref(py:const(math))).

attr_and_method_take_each_of_their_forms(_Config) ->
    Shape = py:init(py_shapes, 'Outer', [7], [{unit, <<"cm">>}]),
    ?assertEqual("cm", py:attr(Shape, unit)),
    ?assertEqual(<<"cm">>, py:attr(Shape, <<"unit">>, #{strings => binary})),
    ?assertEqual("AB", py:method(<<"ab">>, upper)),
    ?assertEqual(<<"AB">>, py:method(<<"ab">>, upper, #{strings => binary})),
    ?assertEqual(14, py:method(Shape, 'scaled-by', [2])),
    ?assertEqual(15, py:method(Shape, scaled_by, [2], [{offset, 1}])),
    ?assertEqual(["a", "b"], py:method(<<"a b">>, split, [])),
    ?assertEqual([<<"a">>, <<"b">>], py:method(<<"a-b">>, split, [<<"-">>], #{strings => binary})),
    ?assertEqual([<<"a">>, <<"b-c">>], py:method(<<"a-b-c">>, split, [<<"-">>], [{maxsplit, 1}], #{strings => binary})),
    %% Keywords as a map need options after them.
    ?assertEqual(15, py:method(Shape, scaled_by, [2], #{offset => 1}, #{})).

pycall_takes_each_of_its_forms(_Config) ->
    ?assertEqual([[], []], py:pycall(py_shapes, with_a_dash)),
    ?assertEqual([[1], []], py:pycall(py_shapes, with_a_dash, [1])),
    ?assertEqual("posix", py:pycall(os, fspath, [<<"posix">>], #{binaries => str})),
    ?assertEqual([[], []], py:pycall(py_shapes, with_a_dash, #{timeout => 5_000})),
    ?assertEqual([[1], []], py:pycall(py_shapes, with_a_dash, [1], #{timeout => 5_000})),
    ?assertEqual("bytes", py:pycall(py_shapes, type_name, [<<"a">>])),
    ?assertEqual(<<"bytes">>, py:pycall(py_shapes, type_name, [<<"a">>], #{strings => binary})),
    ?assertEqual("bytes", py:pycall(<<"py_shapes">>, <<"type_name">>, [<<"a">>])),
    ?assertEqual("found", py:pycall(py_shapes, 'Outer.Inner.deepest')),
    %% Small integers as arguments are a string on the wire.
    ?assertEqual([[1, 2, 3], []], py:pycall(py_shapes, with_a_dash, [1, 2, 3])).

names_are_atoms_or_binaries_dotted_and_dashed(_Config) ->
    ?assertEqual([[1], []], py:func(<<"py_shapes">>, <<"with_a_dash">>, [1])),
    ?assertEqual([[1], []], py:func('py-shapes', 'with-a-dash', [1])),
    ?assertEqual([[1], []], py:func(<<"py-shapes.with-a-dash">>, [1])),
    ?assertEqual([[1], [{"a_b", 2}]], py:func('py-shapes.with-a-dash', [1], [{'a-b', 2}])),
    ?assertEqual("found", py:func('py_shapes.Outer.Inner.deepest')),
    ?assertEqual("found", py:func(py_shapes, 'Outer.Inner.deepest')),
    ?assertEqual("found", py:func('py_shapes.Outer', 'Inner.deepest')),
    ?assertEqual(2, py:const('py_shapes.Outer.Inner.depth')),
    ?assertEqual("groß", py:func(py_shapes, 'größe')),
    ?assertEqual("groß", py:func(<<"py_shapes">>, <<"größe"/utf8>>)),
    %% A submodule that nobody has imported yet.
    ?assertEqual("1", py:func('xml.sax.saxutils', escape, [<<"1">>])),
    ?assertEqual("a/b", py:func('os.path.join', [<<"a">>, <<"b">>])).

a_callable_stands_where_a_path_can(_Config) ->
    Sqrt = py:const(math, sqrt),
    Instance = py:init(py_shapes, 'Outer', [7]),
    Dash = py:const(py_shapes, with_a_dash),
    ?assertEqual(3.0, py:func(Sqrt, [9])),
    ?assertEqual([7], py:func(Instance)),
    ?assertEqual([7, 1], py:func(Instance, [1])),
    ?assertEqual([7, <<"a">>], py:func(Instance, [<<"a">>], #{strings => binary})),
    ?assertEqual([[1], [{"k", 2}]], py:func(Dash, [1], [{k, 2}])),
    ?assertEqual([[1], [{<<"k">>, 2}]], py:func(Dash, [1], [{k, 2}], #{strings => binary})),
    ?assertEqual({"date", {1923, 4, 2}}, py:init(py:const(datetime, date), [1923, 4, 2])),
    ?assertError({python, 'builtins.TypeError', "'int' object is not callable", _}, py:func(42, [1])).

keywords_come_in_each_form(_Config) ->
    Call = fun(Keywords) -> py:func(py_shapes, with_a_dash, [], Keywords, #{}) end,
    [
        ?assertEqual([[], Expected], Call(Keywords))
     || {Expected, Keywords} <- [
            {[], []},
            {[], #{}},
            {[{"a", 1}], [{a, 1}]},
            {[{"a", 1}], [{<<"a">>, 1}]},
            {[{"a", 1}], [{"a", 1}]},
            {[{"a", 1}, {"b", "x"}], #{a => 1, <<"b">> => <<"x">>}},
            {[{"a", 1}], #{"a" => 1}},
            {[{"a_b", 1}], #{'a-b' => 1}},
            {[{"ключ", [1]}], [{'ключ', [1]}]}
        ]
    ].

%%% Options

pool_and_worker_say_where_a_call_runs(Config) ->
    {ok, _} = py:start_pool(other, #{size => 1, python_path => [?config(data_dir, Config)]}),
    [#{os_pid := Other}] = py:workers(other),
    ?assertEqual(Other, py:func(os, getpid, #{pool => other})),
    ?assertNotEqual(Other, py:func(os, getpid, #{pool => default})),
    [
        begin
            ?assertEqual(OsPid, py:func(os, getpid, #{worker => Worker})),
            ?assertEqual(OsPid, py:pycall(os, getpid, [], #{worker => Worker})),
            ?assertEqual(OsPid, py:func(os, getpid, #{worker => Worker, node => node()}))
        end
     || #{worker := Worker, os_pid := OsPid} <- py:workers()
    ].

strings_and_dicts_say_what_a_result_looks_like(_Config) ->
    Dict = py:dict([{a, <<"b">>}]),
    Call = fun(Options) -> py:func(py_shapes, with_a_dash, [Dict], Options) end,
    ?assertEqual([[{"dict", [{"a", "b"}]}], []], py:func(py_shapes, with_a_dash, [py:dict([{a, <<"b">>}])])),
    ?assertEqual([[{"dict", [{"a", "b"}]}], []], Call(#{strings => list, dicts => tagged})),
    Binary = #{strings => binary, binaries => str},
    ?assertEqual([[{"dict", [{<<"a">>, <<"b">>}]}], []], py:func(py_shapes, with_a_dash, [#{<<"a">> => <<"b">>}], Binary)),
    ?assertEqual([[#{"a" => "b"}], []], py:func(py_shapes, with_a_dash, [#{<<"a">> => <<"b">>}], #{dicts => map})),
    ?assertEqual(
        [[#{<<"a">> => <<"b">>}], []], py:func(py_shapes, with_a_dash, [#{<<"a">> => <<"b">>}], Binary#{dicts => map})
    ).

binaries_say_what_a_binary_argument_is(_Config) ->
    Name = fun(Args, Options) -> py:func(py_shapes, type_name, Args, Options) end,
    ?assertEqual("str", Name([<<"a">>], #{})),
    ?assertEqual("str", Name([<<"a">>], #{binaries => str})),
    ?assertEqual("bytes", Name([<<"a">>], #{binaries => bytes})),
    ?assertEqual("bytes", Name([{bytes, <<"a">>}], #{})),
    ?assertEqual("bytes", Name([{bytes, <<"a">>}], #{binaries => bytes})).

return_ref_keeps_the_result_in_python(_Config) ->
    Reference = py:func(builtins, list, [[1, 2]], #{return => ref}),
    ?assert(py_term:is_ref(Reference)),
    undefined = py:method(Reference, append, [3]),
    ?assertEqual([1, 2, 3], py:pylist(Reference)),
    ?assert(py_term:is_ref(py:pycall(os, getpid, [], #{return => ref}))),
    ?assert(py_term:is_ref(py:attr(1, real, #{return => ref}))),
    ?assert(py_term:is_ref(py:const(math, pi, #{return => ref}))).

timeout_bounds_a_call(_Config) ->
    Before = erlang:monotonic_time(millisecond),
    ?assertError({py, timeout}, py:func(time, sleep, [30], #{timeout => 100})),
    Took = erlang:monotonic_time(millisecond) - Before,
    ?assert(Took >= 100 andalso Took < 20_000, Took),
    ?assertEqual(undefined, py:func(time, sleep, [0.01], #{timeout => infinity})),
    ?assertEqual(undefined, py:func(time, sleep, [0.01], #{timeout => 10_000})).

%%% Errors

%% {Name, wrong call, words of its explanation}.
wrong_calls() ->
    [
        {"module that is a string", fun() -> py:func("math", "sqrt", [2], [], #{}) end, ["argument 1", "must be a name"]},
        {"function that is a string", fun() -> py:func(math, "sqrt", [2], [], #{}) end, ["argument 2", "must be a name"]},
        {"path that is a string", fun() -> py:func("math.sqrt", [2]) end, ["argument 1", "must be a name"]},
        {"unknown option", fun() -> py:func(math, sqrt, [2], #{timeuot => 1}) end, ["argument 4:", "timeuot", "timeout"]},
        {"keywords as a last map", fun() -> py:func(builtins, int, [<<"1">>], #{base => 2}) end, [
            "base", "keywords as a map need an options map after them"
        ]},
        {"negative timeout", fun() -> py:func(math, sqrt, [2], #{timeout => -1}) end, ["argument 4:", "timeout", "-1"]},
        {"timeout that is no number", fun() -> py:func(math, pi, #{timeout => soon}) end, ["argument 3:", "soon"]},
        {"pool that is no atom", fun() -> py:func(os, getpid, #{pool => "default"}) end, ["pool"]},
        {"worker that is no pid", fun() -> py:func(os, getpid, #{worker => 1}) end, ["worker", "py:workers"]},
        {"node that is no atom", fun() -> py:func(os, getpid, #{node => "a@b"}) end, ["node"]},
        {"strings that are unknown", fun() -> py:func(os, getpid, #{strings => utf8}) end, ["list | binary"]},
        {"dicts that are unknown", fun() -> py:func(os, getpid, #{dicts => maps}) end, ["tagged | map"]},
        {"binaries that are unknown", fun() -> py:func(os, getpid, #{binaries => utf8}) end, ["str | bytes"]},
        {"return that is unknown", fun() -> py:func(os, getpid, #{return => pid}) end, ["value | ref"]},
        {"arguments that are no list", fun() -> py:func(math, sqrt, 2) end, ["argument 3:", "the list of arguments"]},
        {"arguments of a path that are no list", fun() -> py:func('math.sqrt', 2) end, ["argument 2:", "the list of"]},
        {"arguments that are an improper list", fun() -> py:func(math, sqrt, [2 | 3]) end, ["argument 3:"]},
        {"arguments of init", fun() -> py:init(datetime, date, {1923, 4, 2}) end, ["argument 3:"]},
        {"arguments of method", fun() -> py:method(1, bit_length, 2) end, ["argument 3:"]},
        {"arguments of pycall", fun() -> py:pycall(math, sqrt, 2) end, ["argument 3:"]},
        {"keywords that are none", fun() -> py:func(math, sqrt, [2], [base]) end, ["argument 4:", "{Name, Value}"]},
        {"keywords that have a number for a name", fun() -> py:func(math, sqrt, [2], [{1, 2}]) end, ["argument 4:"]},
        {"keywords of method", fun() -> py:method(1, bit_length, [], x) end, ["argument 4:"]},
        {"name of an attribute", fun() -> py:attr(1, "real") end, ["argument 2:", "an atom or a binary"]},
        {"name of a method", fun() -> py:method(1, 2) end, ["argument 2:", "an atom or a binary"]},
        {"name of a constant", fun() -> py:const("math") end, ["argument 1:", "an atom or a binary"]},
        {"name in a module", fun() -> py:const(math, "pi") end, ["argument 2:"]},
        {"type of a constant", fun() -> py:const(math, pi, "int") end, ["argument 3:"]},
        {"module of pycall", fun() -> py:pycall("math", sqrt) end, ["argument 1:"]},
        {"function of pycall", fun() -> py:pycall(math, "sqrt", [2]) end, ["argument 2:"]},
        {"options of func that are no map", fun() -> py:func(math, sqrt, [2], [], 5) end, ["argument 5:", "must be a map"]},
        {"options of attr that are no map", fun() -> py:attr(1, real, []) end, ["argument 3:", "must be a map"]},
        {"options of pycall that are no map", fun() -> py:pycall(math, sqrt, [2], 5) end, ["argument 4:", "must be a map"]},
        {"release of what is no reference", fun() -> py:release(42) end, ["argument 1:", "a reference"]},
        {"release of a list with what is none", fun() -> py:release([42]) end, ["argument 1:", "a reference"]},
        {"name of a pool", fun() -> py:start_pool("ml", #{}) end, ["argument 1:", "an atom"]},
        {"option of a pool", fun() -> py:start_pool(ml, #{size => 0}) end, ["argument 2:", "size"]},
        {"unknown option of a pool", fun() -> py:start_pool(ml, #{sise => 1}) end, ["argument 2:", "sise", "size"]}
    ].

a_wrong_argument_is_badarg_and_nothing_is_sent(_Config) ->
    Calls = fun() -> lists:sum([Calls || #{calls := Calls} <- py:workers()]) end,
    [
        begin
            Before = Calls(),
            {Name, {error, badarg}} = {Name, caught(Fun)},
            {Name, Before} = {Name, Calls()}
        end
     || {Name, Fun, _} <- wrong_calls()
    ].

the_shell_says_which_argument_is_wrong_and_why(_Config) ->
    [
        ?assertNotEqual(nomatch, string:find(Shown, Word), {Name, Shown})
     || {Name, Fun, Words} <- wrong_calls(), Shown <- [shown(Fun)], Word <- Words
    ].

what_is_missing_is_pythons_own_error(_Config) ->
    [
        {Name, ok} =
            try Fun() of
                Value -> {Name, Value}
            catch
                error:{python, Class, Text, Trace} when is_list(Trace) -> {Name, ok};
                error:Other -> {Name, Other}
            end
     || {Name, Fun, Class, Text} <- [
            {"module", fun() -> py:func(no_such_module, f) end, 'builtins.ModuleNotFoundError',
                "No module named 'no_such_module'"},
            {"module of a path", fun() -> py:func('no_such_module.f') end, 'builtins.ModuleNotFoundError',
                "No module named 'no_such_module'"},
            {"module of a constant", fun() -> py:const(no_such_module) end, 'builtins.ModuleNotFoundError',
                "No module named 'no_such_module'"},
            {"module of pycall", fun() -> py:pycall(no_such_module, f) end, 'builtins.ModuleNotFoundError',
                "No module named 'no_such_module'"},
            {"function", fun() -> py:func(math, nothing) end, 'builtins.AttributeError',
                "module 'math' has no attribute 'nothing'"},
            {"function of a path", fun() -> py:func('math.nothing') end, 'builtins.AttributeError',
                "module 'math' has no attribute 'nothing'"},
            {"constant", fun() -> py:const(math, nothing) end, 'builtins.AttributeError',
                "module 'math' has no attribute 'nothing'"},
            {"attribute", fun() -> py:attr(1, nothing) end, 'builtins.AttributeError',
                "'int' object has no attribute 'nothing'"},
            {"method", fun() -> py:method(1, nothing) end, 'builtins.AttributeError',
                "'int' object has no attribute 'nothing'"},
            {"keyword", fun() -> py:func(math, sqrt, [2], [{nothing, 1}]) end, 'builtins.TypeError',
                "math.sqrt() takes no keyword arguments"},
            {"value", fun() -> py:int(<<"x">>) end, 'builtins.ValueError',
                "invalid literal for int() with base 10: 'x'"},
            {"key", fun() -> py:getitem(py:dict(), <<"x">>) end, 'builtins.KeyError', "'x'"}
        ]
    ].

the_shell_prints_the_python_traceback(Config) ->
    File = filename:join(?config(data_dir, Config), "py_shapes.py"),
    Shown = shown(fun() -> py:func(py_shapes, outer_fault) end),
    [
        ?assertNotEqual(nomatch, string:find(Shown, Part), {Part, Shown})
     || Part <- [
            "Traceback (most recent call last):",
            lists:flatten(io_lib:format("File \"~ts\", line", [File])),
            "in outer_fault\n",
            "    inner_fault()\n",
            "in inner_fault\n",
            "raise ValueError(\"it is faulty\")",
            "builtins.ValueError: it is faulty",
            "py:func(py_shapes,outer_fault)"
        ]
    ],
    %% The cause first, and nothing of how it was looked for.
    Missing = shown(fun() -> py:func(math, sqr, [2]) end),
    ?assertNotEqual(nomatch, string:find(Missing, "builtins.AttributeError: module 'math' has no attribute 'sqr'. Did you mean: 'sqrt'?")),
    [?assertEqual(nomatch, string:find(Missing, Word)) || Word <- ["No module named", "That led to"]],
    ?assertMatch({python, 'builtins.AttributeError', _, []}, try py:func(math, sqr, [2]) catch error:E -> E end),
    %% The outer call comes first, as Python prints it, and none of our own frames is there.
    {match, _} = re:run(Shown, "in outer_fault.*in inner_fault", [dotall]),
    ?assertEqual(nomatch, string:find(Shown, "server.py")),
    ?assertEqual(nomatch, string:find(Shown, "objects.py")),
    Chained = shown(fun() -> py:func(py_shapes, chained_fault) end),
    {match, _} = re:run(Chained, "builtins.ValueError: it is faulty.*builtins.KeyError: 'chained'", [dotall]),
    ?assertNotEqual(nomatch, string:find(shown(fun() -> py:func(py_shapes, two_lines) end), "second ключ")),
    ?assertNotEqual(nomatch, string:find(shown(fun() -> py:func(os, getpid, #{pool => none}) end), "py:status()")).

an_unknown_pool_or_worker_is_named(_Config) ->
    Self = self(),
    ?assertError({py, {unknown_pool, none}}, py:func(os, getpid, #{pool => none})),
    ?assertError({py, {unknown_worker, Self}}, py:func(os, getpid, #{worker => Self})),
    ?assertEqual({error, {py, {unknown_pool, none}}}, py:stop_pool(none)).

%%% Life

starting_twice_is_starting_once(_Config) ->
    Before = [OsPid || #{os_pid := OsPid} <- py:workers()],
    ?assertEqual({ok, started}, py:start()),
    ?assertEqual(Before, [OsPid || #{os_pid := OsPid} <- py:workers()]).

stopping_leaves_no_python_and_no_pool(_Config) ->
    OsPids = [OsPid || #{os_pid := OsPid} <- py:workers()],
    ?assertMatch([_, _], OsPids),
    ?assertEqual({ok, stopped}, py:stop()),
    %% At once: no polling here.
    ?assertEqual([], [OsPid || OsPid <- OsPids, py_os_process:alive(OsPid)]),
    ?assertEqual([], py:workers()),
    ?assertEqual({ok, stopped}, py:stop()).

a_call_without_the_application_says_so(_Config) ->
    [
        {Name, {error, {py, not_started}}} = {Name, caught(Fun)}
     || {Name, Fun} <- [
            {func, fun() -> py:func(os, getcwd) end},
            {init, fun() -> py:init(builtins, dict) end},
            {const, fun() -> py:const(math, pi) end},
            {attr, fun() -> py:attr(1, real) end},
            {method, fun() -> py:method(1, bit_length) end},
            {pycall, fun() -> py:pycall(os, getcwd) end},
            {builtin, fun() -> py:abs(-1) end},
            {operator, fun() -> py:add(1, 2) end}
        ]
    ],
    ?assertEqual({error, {py, not_started}}, py:start_pool(ml, #{})),
    ?assertEqual({error, {py, not_started}}, py:stop_pool(default)),
    ?assertEqual([], py:workers()),
    ?assertNotEqual(nomatch, string:find(shown(fun() -> py:add(1, 2) end), "py:start()")),
    ok = py_application:start(),
    ?assertEqual(3, py:add(1, 2)),
    {ok, stopped} = py:stop(),
    ?assertError({py, not_started}, py:add(1, 2)).

restart_starts_new_interpreters(_Config) ->
    Before = [OsPid || #{os_pid := OsPid} <- py:workers()],
    ?assertEqual({ok, restarted}, py:restart()),
    After = [OsPid || #{os_pid := OsPid} <- py:workers()],
    ?assertEqual(length(Before), length(After)),
    ?assertEqual(After, After -- Before),
    ?assertEqual([], [OsPid || OsPid <- Before, py_os_process:alive(OsPid)]),
    ?assertEqual(3, py:add(1, 2)).

a_bad_configuration_starts_nothing_and_is_explained(_Config) ->
    _ = application:load(py),
    application:set_env(py, pools, [{ml, #{size => 0}}]),
    {error, Error} = py:start(),
    ?assertMatch({py, {bad_config, ml, _}}, Error),
    ?assertNotEqual(nomatch, string:find(py_error:text(Error), "size")),
    ?assertEqual([], py:workers()),
    ?assertEqual([], py_os_process:descendants()).

erl_s_py_starts_the_application(_Config) ->
    Ebin = filename:dirname(code:where_is_file("py.beam")),
    Output = os:cmd(
        lists:concat([
            "erl -noinput -pa ", Ebin, " -s py -eval 'io:format(\"~w~n\", [py:add(1, 2)]), halt(0).' 2>&1"
        ])
    ),
    ?assertEqual("3", string:trim(Output)).

%%% What the shell would show

caught(Fun) ->
    try Fun() of
        Value -> {value, Value}
    catch
        Class:Reason -> {Class, Reason}
    end.

shown(Fun) ->
    try Fun() of
        Value -> error({no_error, Value})
    catch
        Class:Reason:Stack -> unicode:characters_to_list(erl_error:format_exception(Class, Reason, Stack))
    end.
