%%% The programs in examples/, run as a reader runs them: as commands, in a process of their own. What docs/examples.md shows of
%%% them is what they print, but for figures that differ from run to run.
-module(py_examples_SUITE).

-include_lib("stdlib/include/assert.hrl").
-include_lib("common_test/include/ct.hrl").

-export([suite/0, all/0, groups/0, init_per_group/2, end_per_group/2]).
-export([
    the_tour_shows_real_results_and_ends/1,
    the_word_count_prints_what_its_page_shows/1,
    the_word_count_in_a_chaos_prints_what_its_page_shows/1,
    the_word_count_counts_what_erlang_counts/1,
    the_word_count_counts_texts_of_a_reader/1,
    the_word_count_says_what_it_can_not_do/1,
    a_chaos_kills_however_fast_the_count_is/1,
    nobody_who_reads_is_the_end_of_the_word_count/1,
    the_word_count_shows_in_a_terminal_how_far_it_is/1,
    a_killed_program_leaves_no_python/1,
    the_grid_search_prints_what_its_page_shows/1,
    the_grid_search_finds_what_scikit_learn_finds_though_pythons_die/1,
    the_grid_search_without_scikit_learn_says_so/1,
    the_filter_prints_what_its_page_shows/1,
    the_filter_writes_an_image_by_any_number_of_workers/1,
    the_filter_says_what_it_can_not_do/1,
    the_filter_has_more_workers_than_rows/1,
    a_program_says_how_it_is_used/1,
    a_program_that_is_not_built_says_so/1,
    a_difference_is_told/1
]).

%% The longest run of a program on a busy machine; `timeout' ends it, and all that it has started.
-define(LONGEST_RUN, "120").

suite() -> [{timetrap, {minutes, 4}}].

all() ->
    [
        the_tour_shows_real_results_and_ends,
        {group, wordcount},
        {group, scikit_learn},
        the_grid_search_without_scikit_learn_says_so,
        {group, numpy},
        a_program_says_how_it_is_used,
        a_program_that_is_not_built_says_so,
        a_difference_is_told
    ].

groups() ->
    [
        {wordcount, [
            the_word_count_prints_what_its_page_shows,
            the_word_count_in_a_chaos_prints_what_its_page_shows,
            the_word_count_counts_what_erlang_counts,
            the_word_count_counts_texts_of_a_reader,
            the_word_count_says_what_it_can_not_do,
            a_chaos_kills_however_fast_the_count_is,
            nobody_who_reads_is_the_end_of_the_word_count,
            the_word_count_shows_in_a_terminal_how_far_it_is,
            a_killed_program_leaves_no_python
        ]},
        {scikit_learn, [
            the_grid_search_prints_what_its_page_shows,
            the_grid_search_finds_what_scikit_learn_finds_though_pythons_die
        ]},
        {numpy, [
            the_filter_prints_what_its_page_shows,
            the_filter_writes_an_image_by_any_number_of_workers,
            the_filter_has_more_workers_than_rows,
            the_filter_says_what_it_can_not_do
        ]}
    ].

init_per_group(scikit_learn, Config) ->
    case filelib:is_regular(scikit_learn("set-up")) of
        true ->
            Config;
        false ->
            Reason = "there is no scikit-learn here: scripts/setup examples installs it",
            io:format(user, "the grid search is skipped: ~ts~n", [Reason]),
            {skip, Reason}
    end;
init_per_group(numpy, Config) ->
    Env = [{"PYTHONPATH", filename:join(py_checkout:root(), "python")}],
    case run([filename:join(py_checkout:root(), "python/.venv/bin/python"), "-c", "import numpy"], Env) of
        {0, _} -> Config;
        _ -> {skip, "numpy is not installed here"}
    end;
init_per_group(wordcount, Config) ->
    Config.

end_per_group(_, _Config) -> ok.

scikit_learn(Name) -> filename:join([py_checkout:root(), "python/.venv-examples", Name]).

%%% The tour

the_tour_shows_real_results_and_ends(_Config) ->
    Lines = succeeds(["make", "-o", "build", "demo"]),
    ?assertEqual("481229803398374426442198455156736", after_prompt("py:pow(6, 42).", Lines)),
    %% The call had begun when its Python was killed: it fails, and does not go to another.
    ?assertEqual("exception error: {py,{worker_down,{signal,9,[]}}}", after_prompt("py:await(Open).", Lines)),
    ?assertMatch("{\"Athens\"," ++ _, after_prompt("py:func(daylight, profile, [<<\"Athens\">>], #{worker => Worker}).", Lines)),
    ?assertEqual("exception error: {py,timeout}", after_prompt("py:func(time, sleep, [600], #{timeout => 200}).", Lines)),
    ?assertMatch("That was the tour." ++ _, lists:last(Lines)),
    ?assert(is_in_readme(Lines)).

%% README shows pieces of it, in their order; white space does not count.
is_in_readme(Lines) ->
    {ok, Readme} = file:read_file(filename:join(py_checkout:root(), "README.md")),
    [_, FromThere] = string:split(unicode:characters_to_list(Readme), "```console\n$ make demo\n"),
    [Shown, _] = string:split(FromThere, "```"),
    Pieces = string:split(squeezed(Shown), "...", all),
    ?assert(length(Pieces) > 5),
    Pattern = lists:join(".*", [["\\Q", Piece, "\\E"] || Piece <- Pieces]),
    re:run(squeezed(lists:join("\n", Lines)), unicode:characters_to_binary(Pattern), [dotall, unicode, {capture, none}]) =:= match.

squeezed(Text) -> re:replace(Text, "\\s+", "", [global, unicode, {return, list}]).

after_prompt(Typed, Lines) ->
    [_, Result | _] = lists:dropwhile(fun(Line) -> string:find(Line, "> " ++ Typed) =:= nomatch end, Lines),
    Result.

%%% Word count

the_word_count_prints_what_its_page_shows(_Config) -> prints_what_its_page_shows("make example-wordcount").

the_word_count_in_a_chaos_prints_what_its_page_shows(_Config) ->
    Lines = prints_what_its_page_shows("make example-wordcount ARGS='--chaos --workers 2'"),
    [Killed] = [list_to_integer(N) || "Pythons killed while they counted: " ++ N <- Lines],
    ?assert(Killed >= 1).

the_word_count_counts_what_erlang_counts(_Config) ->
    Lines = succeeds([example("wordcount"), "--workers", "2"]),
    Counts = counts_below(filename:join(py_checkout:root(), "_build/examples/numbers")),
    ?assertEqual(top(20, Counts), words(Lines)),
    %% Each number from a thousand on has it once.
    ?assertEqual(499_000, maps:get(<<"thousand">>, Counts)),
    ?assert(lists:member(lists:concat([total(Counts), " words, ", map_size(Counts), " different"]), Lines)).

the_word_count_counts_texts_of_a_reader(Config) ->
    Directory = filename:join(?config(priv_dir, Config), "the reader's téxts"),
    Write = fun(Name, Text) ->
        File = filename:join(Directory, Name),
        ok = filelib:ensure_dir(File),
        ok = file:write_file(File, unicode:characters_to_binary(Text))
    end,
    Write("one.txt", "Don't panic; don't. “Été”, été!\n"),
    Write("below/two", "tea  2 tea\r\n3tea_pot\ttea"),
    Write("empty.txt", ""),
    Write(".hidden", "hidden"),
    %% Of several blocks, which end within words.
    Write("large.md", lists:duplicate(200_000, "abcdefg hijk lmnöp ")),
    Lines = succeeds([example("wordcount"), "--workers", "3", Directory]),
    ?assertMatch("3 files, 4.0 MB, in " ++ _, hd(Lines)),
    ?assertEqual(top(20, counts_below(Directory)), words(Lines)),
    ?assertMatch([_, _ | _], rows("python", Lines)).

the_word_count_says_what_it_can_not_do(Config) ->
    Empty = filename:join(?config(priv_dir, Config), "empty"),
    ok = filelib:ensure_dir(filename:join(Empty, "any")),
    Program = example("wordcount"),
    ?assertEqual({1, ["wordcount: no such directory: /no/such"]}, run([Program, "/no/such"])),
    ?assertEqual({1, ["wordcount: there is no text in " ++ Empty]}, run([Program, Empty])),
    [
        ?assertMatch({1, ["wordcount: usage: " ++ _]}, run([Program | Args]))
     || Args <- [["--workers", "0"], ["--workers", "x"], ["--workers"], ["--none"], ["a", "b"]]
    ],
    {1, Said} = run([Program, Empty], [{"PY_PYTHON", "/no/python"}]),
    ?assertMatch([_ | _], [Line || Line <- Said, string:find(Line, "/no/python") =/= nomatch]).

a_chaos_kills_however_fast_the_count_is(Config) ->
    File = filename:join([?config(priv_dir, Config), "one word", "tea"]),
    ok = filelib:ensure_dir(File),
    ok = file:write_file(File, "tea"),
    Lines = succeeds([example("wordcount"), "--workers", "2", "--chaos", filename:dirname(File)]),
    [Killed] = [list_to_integer(N) || "Pythons killed while they counted: " ++ N <- Lines],
    ?assert(Killed >= 1),
    ?assertEqual([["tea", "1"]], words(Lines)).

nobody_who_reads_is_the_end_of_the_word_count(_Config) ->
    {Status, Lines} = run(["sh", "-c", example("wordcount") ++ " --workers 1 | head -n 1"]),
    ?assertMatch({0, ["500 files, " ++ _]}, {Status, Lines}).

the_word_count_shows_in_a_terminal_how_far_it_is(_Config) ->
    InTerminal = "import os, pty, sys; sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])))",
    Lines = succeeds([os:find_executable("python3"), "-c", InTerminal, example("wordcount"), "--workers", "1"]),
    ?assertMatch({match, _}, re:run(lists:append(Lines), "[0-9]+ of 500 blocks")),
    %% Without one there is no such line, which the page's output shows.
    ?assertEqual("Both runs have counted the same.", string:trim(lists:last(Lines))).

a_killed_program_leaves_no_python(_Config) ->
    Port = start([example("wordcount"), "--workers", "2"], []),
    Below = fun(Name) -> [Pid || {Pid, Command} <- descendants(Port), string:find(Command, Name) =/= nomatch] end,
    py_eventually:holds(fun() -> length(Below("erl.__main__")) =:= 2 end),
    Pythons = Below("erl.__main__"),
    [Beam] = Below("-run escript"),
    py_os_process:kill(Beam),
    ?assertMatch({Status, _} when Status =/= 0, collect(Port, [])),
    py_eventually:holds(fun() -> not lists:any(fun py_os_process:alive/1, Pythons) end).

descendants(Port) ->
    {os_pid, OsPid} = erlang:port_info(Port, os_pid),
    py_os_process:descendants(OsPid).

%% Counted in this process, file by file.
counts_below(Directory) -> filelib:fold_files(Directory, "^[^.]", true, fun add_file/2, #{}).

add_file(File, Acc) ->
    {ok, Text} = file:read_file(File),
    Words = re:run(string:lowercase(Text), "\\p{L}+(?:'\\p{L}+)*", [global, unicode, {capture, first, binary}]),
    case Words of
        {match, Found} -> lists:foldl(fun([Word], Counts) -> Counts#{Word => maps:get(Word, Counts, 0) + 1} end, Acc, Found);
        nomatch -> Acc
    end.

total(Counts) -> lists:sum(maps:values(Counts)).

top(Many, Counts) ->
    Sorted = lists:sort([{-Count, Word} || {Word, Count} <- maps:to_list(Counts)]),
    [[unicode:characters_to_list(Word), integer_to_list(-Count)] || {Count, Word} <- lists:sublist(Sorted, Many)].

words(Lines) -> rows("word ", Lines).

%%% Grid search

the_grid_search_prints_what_its_page_shows(_Config) -> prints_what_its_page_shows("make example-gridsearch").

the_grid_search_finds_what_scikit_learn_finds_though_pythons_die(Config) ->
    Port = start([example("gridsearch"), "--workers", "2"], []),
    Before = read_until(Port, "speed-up", []),
    Pythons = [Pid || {Pid, Command} <- descendants(Port), string:find(Command, "erl.__main__") =/= nomatch],
    ?assertMatch([_, _], Pythons),
    lists:foreach(fun py_os_process:kill/1, Pythons),
    {0, Lines} = collect(Port, Before),
    Ours = lists:append([pairs(Line) || Line <- Lines]) ++ [Line || Line <- Lines, is_verdict(Line)],
    Theirs = succeeds([scikit_learn("bin/python"), filename:join(?config(data_dir, Config), "grid_search_cv.py")]),
    ?assertEqual(Theirs, Ours),
    ?assertEqual(16 + 2, length(Ours)),
    %% They were others that worked in the end.
    ?assertEqual([], [Row || [Pid | _] = Row <- rows("python", Lines), lists:member(list_to_integer(Pid), Pythons)]).

pairs(Line) ->
    case re:run(Line, "([0-9.]+) ± ([0-9.]+)", [global, unicode, {capture, all_but_first, list}]) of
        {match, Found} -> [Mean ++ " " ++ Deviation || [Mean, Deviation] <- Found];
        nomatch -> []
    end.

is_verdict("best: " ++ _) -> true;
is_verdict("held out: " ++ _) -> true;
is_verdict(_) -> false.

the_grid_search_without_scikit_learn_says_so(Config) ->
    Copy = filename:join([?config(priv_dir, Config), "examples", "gridsearch"]),
    ok = filelib:ensure_dir(Copy),
    {ok, _} = file:copy(example("gridsearch"), Copy),
    ?assertEqual(
        {1, ["gridsearch: no scikit-learn here; scripts/setup examples installs it"]},
        run([os:find_executable("escript"), Copy])
    ).

%%% What the page shows

%% Runs the command of the page's block without building anew; gives the lines that it printed.
%%% Filter

the_filter_prints_what_its_page_shows(_Config) -> prints_what_its_page_shows("make example-filter").

the_filter_writes_an_image_by_any_number_of_workers(Config) ->
    [Image | Others] = [
        begin
            Output = filename:join(?config(priv_dir, Config), "edges of " ++ Workers ++ ".png"),
            Lines = succeeds([example("filter"), "--size", "301", "--workers", Workers, Output]),
            ?assertMatch([["over", "pipes", Workers | _], ["in", "shared", "memory", Workers | _]], rows("way", Lines)),
            {ok, Written} = file:read_file(Output),
            Written
        end
     || Workers <- ["1", "2", "5"]
    ],
    %% PNG: the signature, then the width and the height in a header.
    ?assertMatch(<<137, "PNG", _:8/binary, "IHDR", 301:32, 301:32, _/binary>>, Image),
    ?assertEqual([Image, Image], Others).

the_filter_has_more_workers_than_rows(Config) ->
    Output = filename:join(?config(priv_dir, Config), "few rows.png"),
    Lines = succeeds([example("filter"), "--size", "2", "--workers", "3", Output]),
    ?assertMatch("Both ways have found the same edges." ++ _, lists:last(Lines)).

the_filter_says_what_it_can_not_do(_Config) ->
    [
        ?assertMatch({1, ["filter: usage: examples/filter" ++ _]}, run([example("filter") | Args]))
     || Args <- [["--workers", "0"], ["--size", "x"], ["--size"], ["--none"], ["a", "b"]]
    ],
    [
        ?assertEqual({1, ["filter: can't write " ++ Output]}, run([example("filter"), "--size", "9", Output]))
     || Output <- ["/proc/no/such.png", "/proc/such.png", py_checkout:root()]
    ],
    {1, Said} = run([example("filter"), "--size", "9", "/dev/full"]),
    ?assertMatch("filter: can't write /dev/full: " ++ _, lists:last(Said)).

a_program_says_how_it_is_used(_Config) ->
    [
        ?assertMatch({_, {0, ["usage: examples/" ++ _, "", _ | _]}}, {Each, run([example(Name), Help])})
     || Name <- ["wordcount", "gridsearch", "filter"], Help <- ["--help", "-h"], Each <- [{Name, Help}]
    ].

a_program_that_is_not_built_says_so(Config) ->
    [
        begin
            Copy = filename:join([?config(priv_dir, Config), "not built", "examples", Name]),
            ok = filelib:ensure_dir(Copy),
            {ok, _} = file:copy(example(Name), Copy),
            Said = Name ++ ": py is not built here; make build does that",
            ?assertEqual({1, [Said]}, run([os:find_executable("escript"), Copy]))
        end
     || Name <- ["wordcount", "filter"]
    ].

prints_what_its_page_shows(Command) ->
    {ok, Page} = file:read_file(filename:join(py_checkout:root(), "docs/examples.md")),
    [_, FromThere] = string:split(unicode:characters_to_list(Page), "```console\n$ " ++ Command ++ "\n"),
    [Shown, _] = string:split(FromThere, "\n```"),
    "make " ++ Target = Command,
    Lines = succeeds([os:find_executable("sh"), "-c", "make -o build " ++ Target]),
    ?assertEqual([], differences(string:split(Shown, "\n", all), Lines)),
    Lines.

%% The check itself: it would be worth nothing if it passed over these.
a_difference_is_told(_Config) ->
    Lines = ["5 words", "", "workers  seconds", "   1  0.5", "   2  0.3", "", "tea  3", "pot  2"],
    Told = fun(Shown) -> length(differences(Shown, Lines)) end,
    ?assertEqual(0, Told(Lines)),
    ?assertEqual(0, Told(["5 words", "", "workers  seconds", "   1  0.6", "", "tea  3", "..."])),
    ?assertEqual(1, Told(["6 words", "", "workers  seconds", "   1  0.5", "", "tea  3", "..."])),
    ?assertEqual(1, Told(["5 words", "", "workers", "   1  0.5", "", "tea  3", "..."])),
    ?assertEqual(1, Told(["5 words", "", "workers  seconds", "   1  0.5", "", "tea  3"])).

%% The tables of times and of processes have as many rows as the machine has cores; their heads are compared. A line `...'
%% stands for any lines.
differences(Shown, Printed) ->
    Pieces = string:split([stable(Shown), $\n], "...\n", all),
    Pattern = ["^", lists:join(".*", [["\\Q", Piece, "\\E"] || Piece <- Pieces]), "$"],
    Real = unicode:characters_to_binary([stable(Printed), $\n]),
    case re:run(Real, unicode:characters_to_binary(Pattern), [dotall, dollar_endonly, {capture, none}]) of
        match -> [];
        nomatch -> [#{shown => Shown, printed => Printed}]
    end.

stable(Lines) -> lists:append(lists:join("\n", stable_lines(Lines))).

stable_lines([Line | Rest]) ->
    case is_head(Line) of
        true -> [Line | stable_lines(lists:dropwhile(fun(Row) -> Row =/= "" end, Rest))];
        false -> [without_figures(Line) | stable_lines(Rest)]
    end;
stable_lines([]) ->
    [].

is_head("workers" ++ _) -> true;
is_head("python" ++ _) -> true;
is_head("way" ++ _) -> true;
is_head(_) -> false.

without_figures(Line) ->
    re:replace(Line, "(?<=^scikit-learn )[^:]+|(?<=^Pythons killed while they counted: )[0-9]+", "N", [unicode, {return, list}]).

%% The rows of the table whose head begins so, as lists of their columns.
rows(Head, Lines) ->
    [_ | Rest] = lists:dropwhile(fun(Line) -> string:prefix(Line, Head) =:= nomatch end, Lines),
    [string:lexemes(Row, " ") || Row <- lists:takewhile(fun(Line) -> Line =/= "" end, Rest)].

%%% Programs

example(Name) -> filename:join([py_checkout:root(), "examples", Name]).

succeeds(Command) ->
    {Status, Lines} = run(Command),
    ?assertEqual({0, Lines}, {Status, Lines}),
    Lines.

run(Command) -> run(Command, []).

%% Exit status and the lines of what it printed.
run(Command, Env) -> collect(start(Command, Env), []).

%% The programs use the application under test, whatever was built last.
start(Command, Env) ->
    Ebin = filename:dirname(filename:absname(code:which(py))),
    open_port({spawn_executable, os:find_executable("timeout")}, [
        {args, ["-k", "5", ?LONGEST_RUN | Command]},
        {cd, py_checkout:root()},
        {env, [{"ERL_FLAGS", "-pa " ++ Ebin}, {"MAKEFLAGS", false}, {"MFLAGS", false}, {"MAKELEVEL", false} | Env]},
        exit_status,
        stderr_to_stdout,
        binary,
        hide
    ]).

collect(Port, Acc) ->
    receive
        {Port, {data, Data}} ->
            collect(Port, [Acc, Data]);
        {Port, {exit_status, Status}} ->
            Text = unicode:characters_to_list(iolist_to_binary(Acc)),
            {Status, string:split(string:trim(Text, trailing, "\n"), "\n", all)}
    end.

%% What it has printed when it has printed this.
read_until(Port, Word, Acc) ->
    case string:find(iolist_to_binary(Acc), Word) of
        nomatch ->
            receive
                {Port, {data, Data}} -> read_until(Port, Word, [Acc, Data]);
                {Port, {exit_status, Status}} -> ct:fail({ended, Status, iolist_to_binary(Acc)})
            end;
        _ ->
            Acc
    end.
