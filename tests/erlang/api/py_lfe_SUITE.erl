%%% What people type and see: the LFE REPL and the Erlang shell, each in a real terminal.
%%%
%%% LFE is the `lfe' on PATH or the one that the environment variable LFE names; where there is none, its cases are skipped.
-module(py_lfe_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-export([suite/0, all/0, init_per_testcase/2, end_per_testcase/2]).
-export([
    the_transcripts_show_the_same_in_the_lfe_repl/1,
    versions_in_the_lfe_repl_tell_lfes_own/1,
    a_failed_call_leaves_the_lfe_repl_alive/1,
    a_session_is_a_chain_in_the_lfe_repl/1,
    the_pages_show_what_the_lfe_repl_shows/1,
    the_lfe_repl_begins_with_both_banners/1,
    the_transcripts_show_the_same_in_the_erlang_shell/1,
    the_erlang_shell_prints_the_python_traceback/1,
    the_erlang_shell_explains_a_wrong_argument/1
]).

suite() -> [{timetrap, {minutes, 5}}].

all() ->
    [
        the_transcripts_show_the_same_in_the_lfe_repl,
        versions_in_the_lfe_repl_tell_lfes_own,
        a_failed_call_leaves_the_lfe_repl_alive,
        a_session_is_a_chain_in_the_lfe_repl,
        the_pages_show_what_the_lfe_repl_shows,
        the_lfe_repl_begins_with_both_banners,
        the_transcripts_show_the_same_in_the_erlang_shell,
        the_erlang_shell_prints_the_python_traceback,
        the_erlang_shell_explains_a_wrong_argument
    ].

init_per_testcase(Case, Config) ->
    case {string:find(atom_to_list(Case), "lfe_repl"), lfe()} of
        {nomatch, _} ->
            Config;
        {_, false} ->
            Reason = "no LFE here: put `lfe' on PATH or name it in the environment variable LFE",
            io:format(user, "~ts is skipped: ~ts~n", [Case, Reason]),
            {skip, Reason};
        {_, Lfe} ->
            [{lfe, Lfe} | Config]
    end.

end_per_testcase(_, _Config) ->
    %% A case that failed has left its terminal open.
    {links, Links} = process_info(self(), links),
    [close(Port) || Port <- Links, is_port(Port)],
    py_application:stop().

lfe() ->
    case os:getenv("LFE", "") of
        "" -> os:find_executable("lfe");
        Name -> os:find_executable(Name)
    end.

%%% LFE

%% {typed, shown}. White space counts as one space; `{like, Regexp}' is for what differs from run to run.
lfe_transcripts() ->
    [
        {"(py:start)", "#(ok started)"},
        {"(py:func 'os 'getcwd)", cwd()},
        {"(py:func 'datetime.datetime 'now)", {like, "^#\\(\"datetime\" #\\(20[0-9 ]+ undefined\\)\\)$"}},
        {"(py:func 'datetime.datetime.now)", {like, "^#\\(\"datetime\" #\\(20[0-9 ]+ undefined\\)\\)$"}},
        {"(py:pycall 'datetime 'datetime.now)", {like, "^#\\(\"datetime\" #\\(20[0-9 ]+ undefined\\)\\)$"}},
        {"(py:func 'os.path 'isfile '(#\"/tmp\"))", "false"},
        {"(py:func 'os.path 'isdir '(#\"/tmp\"))", "true"},
        {"(py:func 'builtins 'int '(#\"101010\") '(#(base 2)))", "42"},
        {"(py:const 'math 'pi)", "3.141592653589793"},
        {"(py:const 'math 'pi 'float)", "3.141592653589793"},
        {"(py:const 'math 'pi 'int)", "3"},
        {"(py:const 'math 'pi 'str)", "\"3.141592653589793\""},
        {"(py:init 'builtins 'dict)", "#(\"dict\" ())"},
        {"(py:init 'collections 'UserDict)", "#(\"UserDict\" ())"},
        {"(py:init 'datetime 'date '(1923 4 2))", "#(\"date\" #(1923 4 2))"},
        {"(set now '#(\"datetime\" #(2014 12 23 23 14 37 677463 undefined)))",
            "#(\"datetime\" #(2014 12 23 23 14 37 677463 undefined))"},
        {"(py:method now 'strftime '(#\"%Y.%m.%d %H:%M:%S\"))", "\"2014.12.23 23:14:37\""},
        {"(py:attr now 'year)", "2014"},
        {"(py:attr now 'microsecond)", "677463"},
        {"(set later '#(\"datetime\" #(2014 12 23 23 21 25 714474 undefined)))",
            "#(\"datetime\" #(2014 12 23 23 21 25 714474 undefined))"},
        {"(set diff (py:sub later now))", "#(\"timedelta\" #(0 408 37011))"},
        {"(py:attr diff 'seconds)", "408"},
        {"(/ (py:attr diff 'seconds) 60)", "6.8"},
        {"(py:const 'math.pi)", "3.141592653589793"},
        {"(py:func 'math.pow '(2 16))", "65536.0"},
        {"(py:func 'builtins.int '(#\"101010\") '(#(base 2)))", "42"},
        {"(py:init 'collections.UserDict)", "#(\"UserDict\" ())"},
        {"(py:init 'collections.UserDict '() '(#(\"a\" 1) #(\"b\" 2)))", "#(\"UserDict\" (#(\"a\" 1) #(\"b\" 2)))"},
        {"(py:pycall 'datetime 'datetime '(1923 4 2 0 0 0))", "#(\"datetime\" #(1923 4 2 0 0 0 0 undefined))"},
        {"(py:dict)", "#(\"dict\" ())"},
        {"(py:dict '(#(\"a\" 1) #(\"b\" 2)))", "#(\"dict\" (#(\"a\" 1) #(\"b\" 2)))"},
        {"(py:int #\"101010\" '(#(base 2)))", "42"},
        {"(py:any '(true true false))", "true"},
        {"(py:all '(true false))", "false"},
        {"(py:pow 6 42)", "481229803398374426442198455156736"},
        {"(py:round 0.666666667 5)", "0.66667"},
        {"(set r (py:range 7 42))", {like, "^#\\(\\$erlport\\.opaque python #B\\("}},
        {"(py:len r)", "35"},
        {"(== (py:pylist r) (lists:seq 7 41))", "true"},
        {"(py:add 37 5)", "42"},
        {"(py:mul 7 6)", "42"},
        {"(py:sub -108 -150)", "42"},
        {"(py:truediv 462 11)", "42.0"},
        {"(py:floordiv 462 11)", "42"},
        {"(py:gt 7 6)", "true"},
        {"(py:le 7 6)", "false"},
        {"(py:eq 42 42)", "true"},
        {"(py:and- 60 13)", "12"},
        {"(py:or- 60 13)", "61"},
        {"(py:xor 60 13)", "49"},
        {"(py:inv 60)", "-61"},
        {"(py:rshift 60 2)", "15"},
        {"(py:lshift 60 2)", "240"},
        {"(py:pylist)", "()"},
        {"(py:pylist '(1 2 3 4))", "(1 2 3 4)"},
        {"(py:not- 0)", "true"},
        {"(py:is-not 1 'undefined)", "true"},
        {"(py:print #\"hi\")", "hi undefined"},
        {"(py:stop)", {like, "#\\(ok stopped\\)"}}
    ].

the_transcripts_show_the_same_in_the_lfe_repl(Config) ->
    transcript(lfe_terminal(Config), lfe_transcripts()).

versions_in_the_lfe_repl_tell_lfes_own(Config) ->
    Terminal = started(lfe_terminal(Config), "(py:start)"),
    Shown = typed("(py-util:get-versions)", Terminal),
    {match, _} = re:run(Shown, "#\\(erlang .*#\\(emulator .*#\\(driver-version .*#\\(lfe \"[0-9.]+.*#\\(erlport .*#\\(py .*#\\(python "),
    close(Terminal).

a_failed_call_leaves_the_lfe_repl_alive(Config) ->
    Terminal = started(lfe_terminal(Config), "(py:start)"),
    Shown = typed("(py:floordiv 1 0)", Terminal),
    ?assertNotEqual(nomatch, string:find(Shown, "ZeroDivisionError"), Shown),
    ?assertEqual("3", typed("(py:add 1 2)", Terminal)),
    close(Terminal).

a_session_is_a_chain_in_the_lfe_repl(Config) ->
    Terminal = started(lfe_terminal(Config), "(py:start)"),
    Chain =
        "(clj:-> (py_session:open) (py_session:timeout 10000) (py_session:define 'a 100) (py_session:define \"b\" 2)"
        " (py_session:exec \"def mult(x, y): return x * y\\n\"))",
    ?assertEqual("200", typed("(py_session:eval " ++ Chain ++ " \"mult(a, b)\")", Terminal)),
    ?assertEqual("200", typed("(clj:-> " ++ Chain ++ " (py_session:eval #\"mult(a, b)\"))", Terminal)),
    ?assertEqual("()", typed("(py_session:list)", Terminal)),
    close(Terminal).

%% Each page's blocks in one REPL; `...' stands for anything there.
the_pages_show_what_the_lfe_repl_shows(Config) ->
    Transcripts = [{Page, lines_of(Page)} || Page <- ["README.md", "docs/lfe.md", "docs/builtins.md", "docs/functions.md", "docs/operators.md", "docs/dotted-names.md"]],
    [?assertNotEqual([], Lines, Page) || {Page, Lines} <- Transcripts],
    Terminal = started(lfe_terminal(Config), "(py:start)"),
    transcript(Terminal, lists:append([Lines || {_, Lines} <- Transcripts])).

lines_of(Page) ->
    {ok, Text} = file:read_file(filename:join(py_checkout:root(), Page)),
    {match, Blocks} = re:run(Text, "^```lfe\n(.*?)^```", [global, multiline, dotall, {capture, all_but_first, list}]),
    [
        {string:trim(Typed), {like, pattern(lists:append(Shown))}}
     || [Block] <- Blocks, Prompted <- tl(string:split("\n" ++ Block, "\nlfe> ", all)), [Typed | Shown] <- [string:split(Prompted, "\n")]
    ].

pattern(Shown) ->
    Words = lists:append(lists:join(" ", string:lexemes(Shown, " \n\t"))),
    Quoted = re:replace(Words, "[][{}()*+?.\\\\^$|]", "\\\\&", [global, {return, list}]),
    "^" ++ lists:append(lists:join(".*", string:split(Quoted, "\\.\\.\\.", all))) ++ "$".

the_lfe_repl_begins_with_both_banners(Config) ->
    Shown = raw_banner("lfe> ?", [?config(lfe, Config), "-pa", ebin(), "-nobanner", "-repl", "py_shell"], Config),
    {match, _} = re:run(Shown, "A Lisp-2\\+ on the Erlang VM.*py [0-9.]+ on Erlang/OTP.*pool default: .*\\(py:func 'math 'sqrt '\\(2\\)\\).*leaves", [dotall, unicode]).

%%% Erlang

erlang_transcripts() ->
    [
        {"py:start().", "{ok,started}"},
        {"py:func(os, getcwd).", cwd()},
        {"py:func('os.path', isdir, [<<\"/tmp\">>]).", "true"},
        {"py:func(builtins, int, [<<\"101010\">>], [{base, 2}]).", "42"},
        {"py:const(math, pi, str).", "\"3.141592653589793\""},
        {"Now = {\"datetime\", {2014,12,23,23,14,37,677463,undefined}}.",
            "{\"datetime\",{2014,12,23,23,14,37,677463,undefined}}"},
        {"py:method(Now, strftime, [<<\"%Y.%m.%d %H:%M:%S\">>]).", "\"2014.12.23 23:14:37\""},
        {"Later = {\"datetime\", {2014,12,23,23,21,25,714474,undefined}}.",
            "{\"datetime\",{2014,12,23,23,21,25,714474,undefined}}"},
        {"Diff = py:sub(Later, Now).", "{\"timedelta\",{0,408,37011}}"},
        {"py:attr(Diff, seconds) / 60.", "6.8"},
        {"py:dict([{\"a\",1},{\"b\",2}]).", "{\"dict\",[{\"a\",1},{\"b\",2}]}"},
        {"py:'and-'(60, 13).", "12"},
        {"py:print(<<\"hi\">>).", "hi undefined"},
        {"py:prepr(py:range(7, 42)).", "range(7, 42) ok"},
        {"py:stop().", {like, "{ok,stopped}"}}
    ].

the_transcripts_show_the_same_in_the_erlang_shell(Config) ->
    transcript(erlang_terminal(Config), erlang_transcripts()).

the_erlang_shell_prints_the_python_traceback(Config) ->
    Terminal = started(erlang_terminal(Config), "py:start()."),
    Shown = raw("py:func(json, loads, [<<\"{\">>]).", Terminal),
    {match, _} = re:run(
        Shown,
        "exception error: .*'json.decoder.JSONDecodeError'.*in function  py:func/3.*Traceback \\(most recent call last\\):"
        ".*File \".*/json/__init__.py\", line \\d+, in loads.*json.decoder.JSONDecodeError: Expecting property name",
        [dotall, unicode]
    ),
    ?assertEqual("3", typed("py:add(1, 2).", Terminal)),
    close(Terminal).

the_erlang_shell_explains_a_wrong_argument(Config) ->
    Terminal = started(erlang_terminal(Config), "py:start()."),
    Shown = raw("py:func(math, sqrt, 2).", Terminal),
    {match, _} = re:run(Shown, "bad argument.*py:func/3.*argument 3: must be the list of arguments", [dotall, unicode]),
    ?assertEqual("3", typed("py:add(1, 2).", Terminal)),
    close(Terminal).

%%% Terminals

lfe_terminal(Config) -> terminal("lfe> ?", [?config(lfe, Config), "-pa", ebin()], Config).

erlang_terminal(Config) -> terminal("[0-9]+> ?", [os:find_executable("erl"), "-pa", ebin()], Config).

%% A terminal in which the application has started.
started(Terminal, Start) ->
    ?assertNotEqual(nomatch, string:find(typed(Start, Terminal), "started")),
    Terminal.

ebin() -> filename:dirname(filename:absname(code:where_is_file("py.app"))).

cwd() ->
    {ok, Cwd} = file:get_cwd(),
    io_lib:format("~tp", [Cwd]).

%% Every line of a transcript is typed, and those that show something else are told together.
transcript(Terminal, Lines) ->
    Shown = [{Line, typed(Line, Terminal), Expected} || {Line, Expected} <- Lines],
    close(Terminal),
    case [Line || {_, Is, Expected} = Line <- Shown, not is_as_expected(Is, Expected)] of
        [] -> ok;
        Different -> ct:fail("~tp", [Different])
    end.

is_as_expected(Shown, {like, Regexp}) -> re:run(Shown, Regexp, [unicode]) =/= nomatch;
is_as_expected(Shown, Expected) -> Shown =:= lists:flatten(Expected).

terminal(Prompt, Command, Config) ->
    {Port, _Banner} = opened(Prompt, Command, Config),
    Port.

raw_banner(Prompt, Command, Config) ->
    {Port, Banner} = opened(Prompt, Command, Config),
    close(Port),
    Banner.

opened(Prompt, Command, Config) ->
    {ok, Pool} = py_pool_options:check(#{}),
    {ok, _, Python} = py_launcher:find(Pool),
    Program = filename:join(?config(data_dir, Config), "terminal.py"),
    Port = open_port({spawn_executable, Python}, [{args, [Program, Prompt | Command]}, {packet, 4}, binary, exit_status]),
    {Port, answer(Port)}.

%% What a line leads to, without its echo, in one line.
typed(Line, Terminal) ->
    Words = string:lexemes(raw(Line, Terminal), " \n\t"),
    lists:append(lists:join(" ", Words)).

%% The echo is what the terminal shows of the line while it is typed.
raw(Line, Terminal) ->
    port_command(Terminal, unicode:characters_to_binary(Line)),
    case string:split(answer(Terminal), "\n") of
        [_Echo, Shown] -> Shown;
        [Shown] -> Shown
    end.

answer(Port) ->
    receive
        {Port, {data, Shown}} -> unicode:characters_to_list(Shown);
        {Port, {exit_status, Status}} -> ct:fail({terminal_ended, Status})
    after 30_000 -> ct:fail(no_answer)
    end.

%% The program ends with its terminal, and Python with the program: `py_application:stop/0' looks.
close(Port) ->
    port_close(Port),
    receive {Port, {exit_status, _}} -> ok after 0 -> ok end.
