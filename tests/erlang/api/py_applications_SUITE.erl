%%% The applications in examples/applications, run as their users run them: as commands, in a process of their own.
-module(py_applications_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-export([suite/0, all/0]).
-export([
    each_is_short/1,
    the_text_service_reads_a_file_and_refuses_one/1,
    the_scorer_scores_by_two_models/1,
    the_pipeline_tells_of_damaged_files/1,
    the_notebook_server_answers/1,
    the_crawler_finds_all_pages/1
]).

-define(LONGEST_S, "110").
-define(MOST_LINES, 120).

suite() -> [{timetrap, {minutes, 2}}].

all() -> [Case || {Case, 1} <- ?MODULE:module_info(exports), not lists:member(Case, [suite, module_info])].

each_is_short(_Config) ->
    Files = [File || File <- filelib:wildcard(path("*")), filelib:is_regular(File)],
    ?assert(length(Files) >= 9),
    [
        begin
            {ok, Text} = file:read_file(File),
            ?assert(length(binary:matches(Text, <<"\n">>)) < ?MOST_LINES, File)
        end
     || File <- Files
    ].

the_text_service_reads_a_file_and_refuses_one(_Config) ->
    case run([filename:join(py_checkout:root(), "python/.venv/bin/python"), "-c", "import pypdf"]) of
        {0, _} ->
            ?assertMatch({0, ["sample: Tea is served", "no pdf: pypdf.errors." ++ _, "3 calls, 1 errors"]}, run([path("pdf_text")]));
        _ ->
            {skip, "no pypdf in python/.venv: scripts/setup programs"}
    end.

the_scorer_scores_by_two_models(_Config) ->
    case os:find_executable("elixir") of
        false ->
            {skip, "no Elixir here: scripts/setup elixir installs Debian's"};
        Elixir ->
            {Status, Lines} = run([Elixir, path("scorer.exs")]),
            ?assertEqual(
                {0, [
                    "regular: {:ok, 0.426}", "unknown: {:ok, nil}", "incomplete: {:error, {:\"builtins.KeyError\", \"'spent'\"}}",
                    "100 of 101 scored", "by the new model: {:ok, 0.622}"
                ]},
                {Status, lists:sublist(Lines, 5)}
            )
    end.

the_pipeline_tells_of_damaged_files(_Config) ->
    ?assertEqual(
        {0, [
            "2024-07-01   1970 readings     6905.0 kWh",
            "2024-07-02   1970 readings     6905.0 kWh",
            "2024-07-03   1970 readings     6905.0 kWh",
            "050.csv: ValueError: line 3: day is out of range for month",
            "100.csv: ValueError: line 2: could not convert string to float: 'much'",
            "150.csv: KeyError: 'day'",
            "197 of 200 files"
        ]},
        run([path("csv_pipeline")])
    ),
    ?assertMatch({1, ["/no/such has no CSV files"]}, run([path("csv_pipeline"), "/no/such"])).

the_notebook_server_answers(_Config) ->
    {0, Lines} = run([path("notebook_server")]),
    ?assertMatch([">>> x = 2 ** 10", ">>> print('so many:'); x", "so many:", "1024", ">>> x / 0" | _], Lines),
    ?assertEqual("builtins.ZeroDivisionError: division by zero", lists:last(Lines)).

the_crawler_finds_all_pages(_Config) ->
    ?assertMatch({0, ["100 pages, " ++ _, "101 missing"]}, run([path("crawler")])).

path(Name) -> filename:join([py_checkout:root(), "examples", "applications", Name]).

%% The exit status and the lines that were printed.
run(Command) ->
    %% They use the application under test, whatever was built last.
    Ebin = filename:dirname(filename:absname(code:which(py))),
    Port = open_port({spawn_executable, os:find_executable("timeout")}, [
        {args, ["-k", "5", ?LONGEST_S | Command]}, {env, [{"ERL_FLAGS", "-pa " ++ Ebin}]}, exit_status, stderr_to_stdout, binary, hide
    ]),
    collect(Port, <<>>).

collect(Port, Said) ->
    receive
        {Port, {data, More}} -> collect(Port, <<Said/binary, More/binary>>);
        {Port, {exit_status, Status}} -> {Status, string:lexemes(unicode:characters_to_list(Said), "\n")}
    end.
