%%% The page's processes: when it is there, what dies beside it, and how much it shows.
-module(py_dashboard_SUITE).

-include_lib("stdlib/include/assert.hrl").

-export([suite/0, all/0, init_per_suite/1, end_per_suite/1, init_per_testcase/2, end_per_testcase/2]).
-export([
    there_is_no_page_unless_somebody_asks/1,
    a_page_has_a_url_until_it_is_stopped/1,
    a_page_of_the_environment_is_served_by_the_start/1,
    options_that_there_are_not_are_refused/1,
    a_page_that_can_t_be_served_says_why_and_leaves_nothing/1,
    a_python_that_dies_is_replaced_at_the_same_url/1,
    a_process_that_is_killed_is_back_with_the_same_url/1,
    what_the_page_may_not_ask_is_refused/1,
    a_view_has_a_bounded_size/1,
    a_row_changes_with_what_it_says_alone/1,
    what_runs_is_told_without_its_arguments/1,
    texts_of_any_bytes_are_shown/1,
    a_service_is_shown_with_its_figures/1,
    a_pool_that_is_stopped_is_shown_no_more/1
]).

suite() -> [{timetrap, {minutes, 2}}].

all() ->
    [
        there_is_no_page_unless_somebody_asks,
        a_page_has_a_url_until_it_is_stopped,
        a_page_of_the_environment_is_served_by_the_start,
        options_that_there_are_not_are_refused,
        a_page_that_can_t_be_served_says_why_and_leaves_nothing,
        a_python_that_dies_is_replaced_at_the_same_url,
        a_process_that_is_killed_is_back_with_the_same_url,
        what_the_page_may_not_ask_is_refused,
        a_view_has_a_bounded_size,
        a_row_changes_with_what_it_says_alone,
        what_runs_is_told_without_its_arguments,
        texts_of_any_bytes_are_shown,
        a_service_is_shown_with_its_figures,
        a_pool_that_is_stopped_is_shown_no_more
    ].

init_per_suite(Config) ->
    Python = filename:join([py_checkout:root(), "python", ".venv", "bin", "python"]),
    case py_program:run(Python, [{args, ["-c", "import uvicorn, starlette"]}], 60_000) of
        {0, _} -> Config;
        _ -> {skip, "uvicorn or starlette is not installed in python/.venv: scripts/setup serve"}
    end.

end_per_suite(_Config) -> ok.

init_per_testcase(Case, Config) ->
    _ = application:load(py),
    Private = filename:join(proplists:get_value(priv_dir, Config), Case),
    application:set_env(py, state_dir, Private),
    case Case of
        a_page_of_the_environment_is_served_by_the_start -> ok;
        _ -> ok = py_application:start([{default, #{size => 1}}, {tea, #{size => 1}}])
    end,
    Config.

end_per_testcase(_Case, _Config) ->
    Stopped = py_application:stop(),
    application:unset_env(py, state_dir),
    application:unset_env(py, page),
    Stopped.

%%% Its life

there_is_no_page_unless_somebody_asks(_Config) ->
    ?assertEqual(undefined, py_dashboard:url()),
    ?assertEqual([], supervisor:which_children(py_dashboard_sup)),
    ?assertEqual(error, py_dashboard_sup:server()).

a_page_has_a_url_until_it_is_stopped(_Config) ->
    {ok, Url} = py_dashboard:start(#{}),
    ?assertEqual(Url, py_dashboard:url()),
    ?assertMatch({200, _}, fetched(Url)),
    {error, {py, {page, Text}}} = py_dashboard:start(#{}),
    ?assertNotEqual(nomatch, string:find(Text, "served already")),
    Before = py_os_process:descendants(),
    ok = py_dashboard:stop(),
    ?assertEqual(undefined, py_dashboard:url()),
    ?assertEqual(length(Before) - 1, length(py_os_process:descendants())),
    ?assertEqual(closed, fetched(Url)),
    {ok, Other} = py_dashboard:start(#{}),
    ?assertNotEqual(token(Url), token(Other)).

a_page_of_the_environment_is_served_by_the_start(_Config) ->
    application:set_env(py, page, #{port => 0}),
    ok = py_application:start([{default, #{size => 1}}]),
    %% Nobody waits for it.
    py_eventually:holds(fun() -> is_binary(py_dashboard:url()) end, 60_000),
    ?assertMatch({200, _}, fetched(py_dashboard:url())),
    {ok, stopped} = py:stop(),
    application:set_env(py, page, #{ports => 1}),
    ?assertMatch({error, {py, {bad_config, page, {unknown_option, ports, _}}}}, py:start()).

options_that_there_are_not_are_refused(_Config) ->
    [
        ?assertError(badarg, py_dashboard:start(Options))
     || Options <- [
            #{port => 65_536}, #{port => -1}, #{ip => "example.org"}, #{ip => {1, 2, 3}}, #{ip => 5}, #{hosts => ["a b"]}, #{hosts => "a"},
            #{hosts => [lists:duplicate(300, $a)]}, #{hosts => [<<"a/b">>]}, #{token => "x"}, nothing
        ]
    ],
    ?assertEqual(undefined, py_dashboard:url()).

a_page_that_can_t_be_served_says_why_and_leaves_nothing(Config) ->
    {ok, Taken} = gen_tcp:listen(0, [{ip, {127, 0, 0, 1}}]),
    {ok, Port} = inet:port(Taken),
    {error, {py, {page, InUse}}} = py_dashboard:start(#{port => Port}),
    ?assertNotEqual(nomatch, string:find(InUse, integer_to_list(Port))),
    gen_tcp:close(Taken),
    {error, {py, {page, _}}} = py_dashboard:start(#{python => "/no/such/python"}),
    {error, {py, {page, Ended}}} = py_dashboard:start(#{python => "/bin/false"}),
    ?assertNotEqual(nomatch, string:find(Ended, "exit status 1")),
    %% An interpreter that has none of the two.
    Directory = filename:join(proplists:get_value(priv_dir, Config), "without"),
    ok = filelib:ensure_path(Directory),
    ok = file:write_file(filename:join(Directory, "uvicorn.py"), "raise ModuleNotFoundError('none', name='uvicorn')\n"),
    {error, {py, {page, Missing}}} = py_application:with_environment([{"PYTHONPATH", Directory}], fun() -> py_dashboard:start(#{}) end),
    ?assertNotEqual(nomatch, string:find(Missing, "erl-bridge[serve]")),
    ?assertEqual([], supervisor:which_children(py_dashboard_sup)),
    ?assertEqual(undefined, py_dashboard:url()).

a_python_that_dies_is_replaced_at_the_same_url(_Config) ->
    {ok, Url} = py_dashboard:start(#{}),
    {_, Headers} = fetched(Url),
    Cookie = cookie(Headers),
    {Port, OsPid} = program(),
    py_launcher:kill(OsPid),
    py_eventually:holds(fun() -> case program() of {Other, _} -> Other =/= Port; none -> false end end, 60_000),
    py_eventually:holds(fun() -> is_tuple(fetched(Url)) end, 60_000),
    ?assertEqual(Url, py_dashboard:url()),
    %% The browser has lost nothing.
    ?assertMatch({200, _}, fetched(base(Url), Cookie)),
    %% One that says what is none is no page.
    {_, Again} = program(),
    server() ! {element(1, program()), {data, <<131, 255>>}},
    py_eventually:holds(fun() -> case program() of {_, Now} -> Now =/= Again; none -> false end end, 60_000).

a_process_that_is_killed_is_back_with_the_same_url(_Config) ->
    {ok, Url} = py_dashboard:start(#{}),
    {_, Headers} = fetched(Url),
    Server = server(),
    exit(Server, kill),
    py_eventually:holds(fun() -> is_pid(server()) andalso server() =/= Server end, 60_000),
    py_eventually:holds(fun() -> case py_dashboard:url() of Url -> fetched(base(Url), cookie(Headers)) =/= closed; _ -> false end end, 60_000),
    ?assertMatch({200, _}, fetched(base(Url), cookie(Headers))).

what_the_page_may_not_ask_is_refused(_Config) ->
    {ok, _} = py_dashboard:start(#{}),
    {Port, _} = program(),
    Server = server(),
    %% As its Python would say it.
    [
        Server ! {Port, {data, term_to_binary({ask, Id, What, Argument})}}
     || {Id, {What, Argument}} <- lists:zip(lists:seq(1, 5), [
            {apply, {os, cmd, ["true"]}}, {stop_run, self()}, {restart_worker, <<"<0.0.0>">>}, {run, <<"../../etc/passwd">>}, {log, <<>>}
        ])
    ],
    ?assert(is_binary(py_dashboard:url())),
    ?assertEqual(Server, server()).

%%% What is shown

a_view_has_a_bounded_size(_Config) ->
    Long = binary:copy(<<"x">>, 200),
    {ok, First} = py_run:start(operator, truediv, [1, 0], #{pool => nobody, function => Long}),
    Ids = [First | [Id || _ <- lists:seq(1, 400), {ok, Id} <- [py_run:start(math, sqrt, [4], #{pool => nobody, project => Long, function => Long})]]],
    {View, _} = py_page_rows:take(py_page_rows:new()),
    #{runs := Runs, counts := #{runs := 401, states := #{'PENDING' := 401}, workers := 2}} = View,
    ?assertEqual(lists:sublist(lists:reverse(lists:sort(Ids)), 200), [Id || {Id, _} <- Runs]),
    {Last, _} = lists:last(Runs),
    Older = py_page_rows:runs(#{}, Last),
    ?assertEqual(200, length(Older)),
    ?assertEqual([], [Id || {Id, _} <- Older, Id >= Last]),
    ?assertEqual([], py_page_rows:runs(#{}, lists:min(Ids))),
    ?assertEqual([], py_page_rows:runs(#{state => 'ERROR'}, last)),
    ?assert(byte_size(term_to_binary(View)) < 1_000_000),
    ok = py_run:stop(First),
    ?assertMatch([{First, #{state := 'STOPPED'}}], py_page_rows:runs(#{state => 'STOPPED'}, last)).

a_row_changes_with_what_it_says_alone(_Config) ->
    %% An interpreter that has just begun still grows.
    py_eventually:holds(
        fun() ->
            {View, History} = py_page_rows:take(py_page_rows:new()),
            {Next, _} = py_page_rows:take(History),
            maps:with([workers, pools], View) =:= maps:with([workers, pools], Next)
        end,
        60_000
    ).

what_runs_is_told_without_its_arguments(_Config) ->
    Call = py:async(time, sleep, [4_711]),
    py_eventually:holds(
        fun() ->
            {#{workers := Workers}, _} = py_page_rows:take(py_page_rows:new()),
            [<<"time:sleep">>] =:= [Name || {_, #{running := [#{name := Name, since_ms := _}]}} <- Workers]
        end,
        60_000
    ),
    {View, _} = py_page_rows:take(py_page_rows:new()),
    ?assertEqual(nomatch, string:find(io_lib:format("~p", [View]), "4711")),
    py:cancel(Call),
    {ok, Run} = py_run:start(time, sleep, [4_712], #{pool => tea, function => <<"nap">>}),
    py_eventually:holds(
        fun() ->
            {#{workers := Workers}, _} = py_page_rows:take(py_page_rows:new()),
            [{<<"nap">>, Run}] =:= [{Name, Id} || {_, #{running := [#{name := Name, run := Id}]}} <- Workers]
        end,
        60_000
    ),
    {ok, Shown} = py_page_rows:run(Run),
    ?assertEqual(nomatch, string:find(io_lib:format("~p", [Shown]), "4712")),
    ok = py_run:stop(Run),
    {ok, #{state := 'STOPPED'}} = py_run:wait(Run, 60_000).

texts_of_any_bytes_are_shown(_Config) ->
    [
        begin
            Shown = py_page_text:clean(Text, 100),
            ?assert(is_list(unicode:characters_to_list(Shown))),
            ?assert(byte_size(Shown) =< 3 * 100 + 3)
        end
     || Text <- [<<>>, <<255>>, <<"caf", 195>>, binary:copy(<<255>>, 10_000), binary:copy(<<"é"/utf8>>, 1_000_000), <<"x", 0, 27, "[2J">>, {a, "b"}, 5]
    ],
    ?assertEqual(<<"a", 16#FFFD/utf8, "b">>, py_page_text:clean(<<"a", 255, "b">>, 100)),
    ?assertEqual(<<"abc...">>, py_page_text:clean(<<"abcd">>, 3)),
    {ok, Id} = py_run:start(builtins, exec, [<<"raise ValueError('<script>' + 'x' * 1_000_000)">>]),
    {ok, #{state := 'ERROR'}} = py_run:wait(Id, 60_000),
    [{Id, #{message := Message}}] = py_page_rows:runs(#{}, last),
    ?assert(byte_size(Message) < 400),
    {ok, #{message := Whole}} = py_page_rows:run(Id),
    ?assert(byte_size(Whole) < 10_000),
    {ok, End, Bytes} = py_run:log_end(Id, 100),
    ?assertEqual(100, byte_size(End)),
    ?assert(Bytes > 100).

a_service_is_shown_with_its_figures(Config) ->
    Directory = filename:join(proplists:get_value(priv_dir, Config), "service"),
    ok = filelib:ensure_path(Directory),
    ok = file:write_file(filename:join(Directory, "py_page_hello.py"), "def handler(context, event):\n    return context.Response('', status_code=int(event.path[1:]))\n"),
    {ok, Service} = py_service:start(#{name => <<"hello">>, handler => "py_page_hello:handler", python_path => [Directory], replicas => 1}),
    Url = py_service:url(Service),
    [?assertMatch({Status, _}, fetched(<<Url/binary, $/, (integer_to_binary(Status))/binary>>)) || Status <- [200, 404, 503]],
    py_eventually:holds(
        fun() ->
            {#{services := Services, counts := #{services := 1}}, _} = py_page_rows:take(py_page_rows:new()),
            case Services of
                [{<<"hello">>, #{state := ready, url := Url, replicas := 1, requests := 3, failed := 1}}] -> true;
                _ -> false
            end
        end,
        60_000
    ),
    ?assertNotEqual(nomatch, binary:match(py_service_sup:metrics(), <<"py_service_requests_total{service=\"hello\",status=\"404\"} 1">>)),
    ok = py_service:stop(Service),
    ?assertMatch({#{services := []}, _}, py_page_rows:take(py_page_rows:new())).

a_pool_that_is_stopped_is_shown_no_more(_Config) ->
    {#{pools := Before, workers := [_, _]}, History} = py_page_rows:take(py_page_rows:new()),
    ?assertEqual([<<"default">>, <<"tea">>], [Name || {Name, _} <- Before]),
    ok = py:stop_pool(tea),
    {#{pools := After, workers := [_]}, _} = py_page_rows:take(History),
    ?assertEqual([<<"default">>], [Name || {Name, _} <- After]).

%%% HTTP

fetched(Url) -> fetched(Url, none).

%% The status and the headers, as lines; `closed' where nobody answers.
fetched(Url, Cookie) ->
    #{host := Host, port := Port, path := Path} = Parts = uri_string:parse(Url),
    Query = case Parts of #{query := Some} -> [$?, Some]; #{} -> [] end,
    Name = [Host, $:, integer_to_list(Port)],
    Lines = [["Cookie: ", Cookie, "\r\n"] || Cookie =/= none],
    case gen_tcp:connect(binary_to_list(Host), Port, [binary, {active, false}], 10_000) of
        {ok, Socket} ->
            ok = gen_tcp:send(Socket, ["GET ", Path, Query, " HTTP/1.1\r\nHost: ", Name, "\r\nConnection: close\r\n", Lines, "\r\n"]),
            Answer = all(Socket, <<>>),
            gen_tcp:close(Socket),
            case binary:split(Answer, <<"\r\n">>, [global]) of
                [<<"HTTP/1.1 ", Status:3/binary, _/binary>> | Headers] -> {binary_to_integer(Status), Headers};
                _ -> closed
            end;
        {error, _} ->
            closed
    end.

all(Socket, Acc) ->
    case gen_tcp:recv(Socket, 0, 60_000) of
        {ok, More} -> all(Socket, <<Acc/binary, More/binary>>);
        {error, _} -> Acc
    end.

cookie(Headers) ->
    [Cookie] = [hd(binary:split(Rest, <<";">>)) || <<"set-cookie: ", Rest/binary>> <- Headers],
    Cookie.

base(Url) -> hd(binary:split(Url, <<"?">>)).

token(Url) -> lists:last(binary:split(Url, <<"=">>)).

%% The port and the number of its Python.
program() -> element(5, sys:get_state(server())).

server() ->
    case py_dashboard_sup:server() of
        {ok, Pid} -> Pid;
        error -> undefined
    end.
