%%% What Elixir shows of a failure: in a script, in IEx, in an ExUnit test, in its Logger; and its module `Py', by tests/elixir.
%%%
%%% Elixir is the `elixir' and the `iex' on PATH; where there are none, the cases are skipped. (`scripts/setup elixir')
-module(py_elixir_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-export([suite/0, all/0, init_per_suite/1, end_per_suite/1]).
-export([
    each_failure_is_explained/1,
    a_script_that_fails_prints_the_traceback/1,
    iex_prints_the_traceback_and_goes_on/1,
    an_exunit_test_that_fails_prints_the_traceback/1,
    processes_that_crash_are_logged/1,
    the_module_of_elixir_does_what_its_page_shows/1
]).

suite() -> [{timetrap, {minutes, 5}}].

all() ->
    [
        each_failure_is_explained,
        a_script_that_fails_prints_the_traceback,
        iex_prints_the_traceback_and_goes_on,
        an_exunit_test_that_fails_prints_the_traceback,
        processes_that_crash_are_logged,
        the_module_of_elixir_does_what_its_page_shows
    ].

init_per_suite(Config) ->
    case {os:find_executable("elixir"), os:find_executable("iex")} of
        {Elixir, Iex} when is_list(Elixir), is_list(Iex) ->
            {ok, Pool} = py_pool_options:check(#{}),
            {ok, _, Python} = py_launcher:find(Pool),
            [{elixir, Elixir}, {iex, Iex}, {python, Python} | Config];
        _ ->
            Reason = "no Elixir here: scripts/setup elixir installs Debian's",
            io:format(user, "~ts is skipped: ~ts~n", [?MODULE, Reason]),
            {skip, Reason}
    end.

end_per_suite(_Config) -> ok.

%%% Scripts

%% {what fails, what is shown of it, in this order}.
explanations() ->
    [
        {"division", ["** (ErlangError)", ": builtins.ZeroDivisionError: division by zero", "py", ":py.truediv(1, 0)"]},
        {"traceback", [
            ": Traceback (most recent call last):", "/json/__init__.py\", line ", ", in loads",
            "json.decoder.JSONDecodeError: Expecting property name", ":py.func(:json, :loads, [\"{\"])"
        ]},
        {"unicode", ["builtins.ValueError: invalid literal for int() with base 10: 'ключ é 🐍'"]},
        {"surrogate", ["builtins.ValueError: half \x{fffd} of a pair"]},
        {"causes", ["builtins.KeyError: 'the first'", "That led to:", "ValueError: level 0", "That led to:", "ValueError: level 5"]},
        {"item", ["In item 3 of the list:", "builtins.ValueError: ", "argument 3: item 3 is -1"]},
        {"option", ["** (ArgumentError)", "4th argument: unknown option tmeout", ":py.func(:math, :sqrt, [2], %{tmeout: 5})"]},
        {"arguments", ["** (ArgumentError)", "3rd argument: must be the list of arguments"]},
        {"timeout", ["{:py, :timeout}: the call did not end within its timeout"]},
        {"decode", ["{:decode,", "UTF-8"]},
        {"pool", ["there is no pool nowhere"]},
        {"erlang", ["** (ArgumentError)", ":erlang.binary_to_integer("]},
        {"session", ["builtins.ZeroDivisionError: division by zero", ":py_session.eval("]},
        {"large", ["builtins.TypeError: ", "[bytes: \"... (2097152 bytes)\"]"]},
        {"struct", ["builtins.TypeError", "argument 3: the struct MapSet is a dict of its fields in Python"]},
        {"rescued", ["original :\"builtins.ZeroDivisionError\""]}
    ].

each_failure_is_explained(Config) ->
    {0, Shown} = run(elixir, ["failing.exs"], "", Config),
    ?assert(string:length(Shown) < 40_000),
    Missing = [
        {Name, Words, Text}
     || {Name, Words} <- explanations(),
        Text <- [section(Name, Shown)],
        not in_order(Words, Text)
    ],
    ?assertEqual([], Missing),
    %% Nothing has failed while it was shown.
    [?assertEqual(nomatch, string:find(Shown, Word), Shown) || Word <- ["not a bitstring", "FunctionClauseError", "EXIT"]].

section(Name, Shown) ->
    [_, From] = string:split(Shown, "<<" ++ Name ++ ">>\n"),
    hd(string:split(From, "\n<<")).

in_order([Word | Rest], Text) ->
    case string:split(Text, Word) of
        [_, After] -> in_order(Rest, After);
        _ -> false
    end;
in_order([], _Text) ->
    true.

a_script_that_fails_prints_the_traceback(Config) ->
    {1, Shown} = run(elixir, ["uncaught.exs"], "", Config),
    ?assert(in_order(["** (ErlangError)", "Traceback (most recent call last):", "JSONDecodeError: Expecting"], Shown), Shown).

iex_prints_the_traceback_and_goes_on(Config) ->
    Typed =
        ":py.start()\n:py.func(:json, :loads, [\"{\"])\n:py.func(:math, :sqrt, [2], %{tmeout: 5})\n"
        ":py.truediv(1, 0)\n:py.add(40, 2)\n:py.stop()\n",
    {0, Shown} = run(iex, ["--dot-iex", ""], Typed, Config),
    Words = [
        "{:ok, :started}", "** (ErlangError)", "Traceback (most recent call last):", "JSONDecodeError: Expecting",
        "** (ArgumentError)", "4th argument: unknown option tmeout", "builtins.ZeroDivisionError: division by zero",
        "42", "{:ok, :stopped}"
    ],
    ?assert(in_order(Words, Shown), Shown),
    ?assertEqual(nomatch, string:find(Shown, "not a bitstring"), Shown).

an_exunit_test_that_fails_prints_the_traceback(Config) ->
    {2, Shown} = run(elixir, ["failing_test.exs"], "", Config),
    ?assert(in_order(["4 tests, 3 failures"], Shown), Shown),
    [
        ?assert(in_order(Words, Shown), Shown)
     || Words <- [
            ["FailingTest", "** (ErlangError)", "Traceback (most recent call last):", "JSONDecodeError: Expecting"],
            ["FailingTest", "** (ArgumentError)", "4th argument: unknown option tmeout"],
            ["FailingTest", "ArgumentError", "division by zero"]
        ]
    ].

processes_that_crash_are_logged(Config) ->
    {0, Shown} = run(elixir, ["logged.exs"], "", Config),
    [
        ?assert(in_order(Words, Shown), Shown)
     || Words <- [
            ["raised an exception", "** (ErlangError)", ": builtins.ZeroDivisionError: division by zero", ":py.truediv(1, 0)"],
            ["Task #PID", "terminating", "json.decoder.JSONDecodeError", ":py.func(:json, :loads, [\"{\"])"],
            ["GenServer #PID", "terminating", "builtins.ZeroDivisionError", ":py.floordiv(1, 0)"],
            ["raised an exception", ": builtins.TypeError: ", "[bytes: \"... (2097152 bytes)\"]"]
        ]
    ],
    %% With Elixir 1.14 the whole process of logging one fails where the explanation is no binary.
    ?assertEqual(nomatch, string:find(Shown, "failure while translating"), Shown),
    ?assert(string:length(Shown) < 20_000).

%%% lib/

the_module_of_elixir_does_what_its_page_shows(Config) ->
    Ebin = filename:join(?config(priv_dir, Config), "ebin"),
    ok = filelib:ensure_path(Ebin),
    Sources = [filename:join(py_checkout:root(), Each) || Each <- filelib:wildcard("lib/**/*.ex", py_checkout:root())],
    {0, Compiled} = run(elixirc, ["--warnings-as-errors", "-o", Ebin | Sources], "", [{elixirc, os:find_executable("elixirc")} | Config]),
    ?assertEqual("", Compiled),
    Run = run(elixir, ["-pa", Ebin, filename:join(py_checkout:root(), "tests/elixir/run.exs")], "", Config),
    {_, Shown} = Run,
    ?assertMatch({0, _}, Run, Shown),
    %% The page's own check counts its prompts.
    {match, _} = re:run(Shown, "[0-9]+ doctests, [0-9]+ tests, 0 failures").

%%% Programs

%% Its exit status, and all that it writes.
run(Program, Args, Typed, Config) ->
    Directory = ?config(data_dir, Config),
    Paths = lists:append([["-pa", Path] || Path <- [filename:dirname(filename:absname(code:where_is_file("py.app")))]]),
    Input = filename:join(?config(priv_dir, Config), "typed"),
    ok = file:write_file(Input, Typed),
    %% A port closes its program's input only with the port.
    Port = open_port({spawn_executable, "/bin/sh"}, [
        {args, ["-c", "input=$1; shift; exec \"$@\" <\"$input\"", "sh", Input, ?config(Program, Config) | Paths ++ Args]},
        {cd, Directory},
        {env, [
            {"PY_PYTHON", ?config(python, Config)},
            {"PYTHONPATH", Directory},
            {"TERM", "dumb"},
            {"LANG", "C.UTF-8"},
            {"LC_ALL", "C.UTF-8"}
        ]},
        stderr_to_stdout,
        exit_status,
        binary
    ]),
    said(Port, []).

said(Port, Parts) ->
    receive
        {Port, {data, Part}} -> said(Port, [Part | Parts]);
        {Port, {exit_status, Status}} -> {Status, unicode:characters_to_list(iolist_to_binary(lists:reverse(Parts)))}
    after 120_000 ->
        ct:fail({no_end, Parts})
    end.
