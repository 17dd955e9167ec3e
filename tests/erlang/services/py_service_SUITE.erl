%%% Services: what a handler is given and answers, who is let in, and what dies at whose cost; by bare sockets, with real fronts and replicas.
-module(py_service_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-export([log/2]).
-export([suite/0, all/0, groups/0, init_per_suite/1, end_per_suite/1, init_per_group/2, end_per_group/2, init_per_testcase/2, end_per_testcase/2]).
-export([
    a_request_is_an_event_and_what_is_returned_an_answer/1,
    init_runs_once_in_each_replica_before_it_serves/1,
    init_parameters_that_do_not_fit_are_named/1,
    parameters_are_the_keys_of_the_body/1,
    what_a_handler_raises_stays_in_the_log/1,
    a_streamed_answer_comes_in_pieces/1,
    a_stream_that_breaks_is_no_whole_answer/1,
    a_client_that_leaves_a_stream_closes_it/1,
    a_client_that_leaves_ends_its_call/1,
    a_coroutine_is_awaited/1,
    erlang_asks_without_http/1,
    the_id_of_a_request_goes_to_the_log_of_its_worker/1,
    the_front_says_how_it_is/1,
    a_killed_replica_costs_the_request_that_ran/1,
    a_killed_front_is_replaced_at_its_port/1,
    a_front_that_does_not_answer_is_replaced/1,
    a_full_queue_and_a_deadline_are_told/1,
    a_drain_answers_all_that_is_open/1,
    a_stop_of_the_application_answers_all_that_is_open/1,
    a_token_or_tls_is_asked_of_others/1,
    a_front_may_have_its_replicas_called_and_nothing_else/1,
    what_can_not_start_says_why/1,
    nothing_is_left_of_a_killed_node/1
]).

suite() -> [{timetrap, {minutes, 3}}].

all() -> [{group, shared}, {group, own}].

%% Those that leave a service as it was share one.
groups() ->
    [
        {shared, [
            a_request_is_an_event_and_what_is_returned_an_answer,
            init_runs_once_in_each_replica_before_it_serves,
            init_parameters_that_do_not_fit_are_named,
            parameters_are_the_keys_of_the_body,
            what_a_handler_raises_stays_in_the_log,
            a_streamed_answer_comes_in_pieces,
            a_stream_that_breaks_is_no_whole_answer,
            a_client_that_leaves_a_stream_closes_it,
            a_client_that_leaves_ends_its_call,
            a_coroutine_is_awaited,
            erlang_asks_without_http,
            the_id_of_a_request_goes_to_the_log_of_its_worker,
            a_token_or_tls_is_asked_of_others,
            a_front_may_have_its_replicas_called_and_nothing_else,
            what_can_not_start_says_why
        ]},
        {own, [
            the_front_says_how_it_is,
            a_killed_replica_costs_the_request_that_ran,
            a_killed_front_is_replaced_at_its_port,
            a_front_that_does_not_answer_is_replaced,
            a_full_queue_and_a_deadline_are_told,
            a_drain_answers_all_that_is_open,
            a_stop_of_the_application_answers_all_that_is_open,
            nothing_is_left_of_a_killed_node
        ]}
    ].

-define(WAIT_MS, 60_000).
%% No deadline of a busy machine.
-define(LONG_MS, 120_000).

init_per_suite(Config) ->
    py_application:start([{default, #{size => 1}}]),
    case py:func('importlib.util', find_spec, [<<"uvicorn">>]) of
        undefined ->
            py:stop(),
            {skip, "uvicorn is not installed: scripts/setup serve"};
        _ ->
            {ok, stopped} = py:stop(),
            Config
    end.

end_per_suite(_Config) -> ok.

init_per_group(shared, Config) -> served(Config);
init_per_group(own, Config) -> Config.

end_per_group(shared, _Config) ->
    %% A case that has left something says so in the log; processes are looked for here.
    ok = py_application:stop();
end_per_group(own, _Config) ->
    ok.

init_per_testcase(Case, Config) -> case is_shared(Case) of true -> Config; false -> served(Config) end.

end_per_testcase(Case, _Config) ->
    case is_shared(Case) of
        true -> [ok = py_service:stop(Name, 0) || #{name := Name} <- py_service:list(), Name =/= <<"served:handler">>], ok;
        false -> py_application:stop()
    end.

is_shared(Case) -> lists:member(Case, element(2, lists:keyfind(shared, 1, groups()))).

served(Config) ->
    py_application:start([{default, none}]),
    {ok, Service} = start(Config, #{timeout => ?LONG_MS, init_function => init, init_parameters => #{greeting => <<"hey">>, times => 2}}),
    [{service, Service}, {port, port(Service)} | Config].

start(Config, Options) ->
    py_service:start(maps:merge(#{handler => "served:handler", python_path => [?config(data_dir, Config)]}, Options)).

port(Service) ->
    #{port := Port} = uri_string:parse(py_service:url(Service)),
    Port.

file(Config, Name) -> filename:absname(filename:join(?config(priv_dir, Config), Name)).

holds(File, Text) -> py_eventually:equals({ok, Text}, fun() -> file:read_file(File) end, ?WAIT_MS).

a_request_is_an_event_and_what_is_returned_an_answer(Config) ->
    Socket = py_http:connect(?config(port, Config)),
    ?assertMatch({200, #{<<"content-type">> := <<"text/plain">>}, <<"Hello, world!">>}, py_http:get(Socket, "/")),
    {200, #{<<"x-request-id">> := <<"one">>} = Headers, Seen} = py_http:post(
        Socket, "/seen?a=1&b=x%20y&b=2", [{"content-type", "application/json"}, {"X-One", "1"}, {"X-Request-Id", "one"}], "{\"k\": [1, null]}"
    ),
    ?assertMatch(#{<<"content-type">> := <<"application/json">>}, Headers),
    [
        ?assertNotEqual(nomatch, binary:match(Seen, Part))
     || Part <- [
            <<"\"body\": {\"k\": [1, null]}">>, <<"\"method\": \"POST\"">>, <<"\"path\": \"/seen\"">>, <<"\"content_type\": \"application/json\"">>,
            <<"\"fields\": {\"a\": \"1\", \"b\": [\"x y\", \"2\"]}">>, <<"\"id\": \"one\"">>, <<"\"header\": \"1\"">>, <<"\"is_time\": true">>
        ]
    ],
    {201, Made, <<0, 255>>} = py_http:get(Socket, "/made"),
    ?assertMatch(#{<<"x-made">> := <<"yes">>, <<"content-type">> := <<"application/octet-stream">>}, Made),
    %% A body that is no JSON is bytes, however large.
    Large = binary:copy(<<"0123456789">>, 100_000),
    {200, _, Echoed} = py_http:post(Socket, "/seen", [{"content-type", "text/plain"}], Large),
    ?assert(byte_size(Echoed) > byte_size(Large)),
    py_http:close(Socket).

init_runs_once_in_each_replica_before_it_serves(Config) ->
    Socket = py_http:connect(?config(port, Config)),
    [?assertMatch({200, _, <<"{\"greeting\": \"heyhey\", \"inits\": 1}">>}, py_http:get(Socket, "/greet")) || _ <- lists:seq(1, 6)],
    py_http:close(Socket).

init_parameters_that_do_not_fit_are_named(Config) ->
    {error, {py, Reason}} = start(Config, #{name => wrong, init_function => init, init_parameters => #{greetings => 1}}),
    Text = unicode:characters_to_binary(py_error:text({py, Reason})),
    ?assertNotEqual(nomatch, binary:match(Text, <<"Init function parameters mismatch. Expected: ['greeting', 'times'], Got: ['greetings']">>)),
    ?assertMatch([_], py_service:list()).

parameters_are_the_keys_of_the_body(Config) ->
    {ok, Adds} = start(Config, #{name => adds, handler => "served:add", replicas => 1}),
    Socket = py_http:connect(port(Adds)),
    Json = [{"content-type", "application/json; charset=utf-8"}],
    ?assertMatch({200, _, <<"{\"sum\": 3}">>}, py_http:post(Socket, "/", Json, "{\"first\": 1}")),
    ?assertMatch({200, _, <<"{\"sum\": 5}">>}, py_http:post(Socket, "/", Json, "{\"first\": 1, \"second\": 4}")),
    {422, _, Wrong} = py_http:post(Socket, "/", Json, "{\"second\": \"a secret\", \"third\": \"another secret\"}"),
    ?assertMatch({match, _}, re:run(Wrong, "missing: first; unknown: third")),
    ?assertEqual(nomatch, re:run(Wrong, "secret")),
    [
        ?assertMatch({Status, _, _}, py_http:post(Socket, "/", Headers, Body))
     || {Status, Headers, Body} <- [
            {422, [{"content-type", "text/plain"}], "{\"first\": 1}"},
            {422, [], "{\"first\": 1}"},
            {400, Json, "{\"first\": "},
            {422, Json, "[1]"}
        ]
    ],
    ?assertMatch({422, _, _}, py_http:get(Socket, "/")),
    py_http:close(Socket).

what_a_handler_raises_stays_in_the_log(Config) ->
    Socket = py_http:connect(?config(port, Config)),
    {500, _, Body} = py_http:get(Socket, "/fail", [{"x-request-id", "the-id"}]),
    ?assertEqual(<<"{\"error\": \"LookupError\", \"id\": \"the-id\"}">>, Body),
    ?assertMatch({500, _, <<"{\"error\": \"MemoryError\", ", _/binary>>}, py_http:get(Socket, "/memory")),
    ?assertMatch({200, _, _}, py_http:get(Socket, "/")),
    py_http:close(Socket).

a_streamed_answer_comes_in_pieces(Config) ->
    Socket = py_http:connect(?config(port, Config)),
    {200, #{<<"transfer-encoding">> := <<"chunked">>}, <<"piece 0;piece 1;piece 2;">>} = py_http:get(Socket, "/pieces"),
    ?assertMatch({200, _, <<"Hello, world!">>}, py_http:get(Socket, "/")),
    py_http:close(Socket).

a_stream_that_breaks_is_no_whole_answer(Config) ->
    ?assertMatch({broken, <<"first">>}, py_http:once(?config(port, Config), "/broken")),
    ?assertMatch({200, _, _}, py_http:once(?config(port, Config), "/")).

a_client_that_leaves_a_stream_closes_it(Config) ->
    File = file(Config, "endless"),
    Socket = py_http:connect(?config(port, Config)),
    ok = py_http:send(Socket, py_http:request("GET", ["/endless?file=", uri_string:quote(File)], [], "")),
    {ok, _} = gen_tcp:recv(Socket, 5_000, ?WAIT_MS),
    py_http:close(Socket),
    holds(File, <<"closed">>).

a_client_that_leaves_ends_its_call(Config) ->
    File = file(Config, "long"),
    [#{left := Before}] = py_service:list(),
    Socket = py_http:connect(?config(port, Config)),
    ok = py_http:send(Socket, py_http:request("GET", ["/long?file=", uri_string:quote(File)], [], "")),
    holds(File, <<"begun">>),
    py_http:close(Socket),
    holds(File, <<"ended">>),
    py_eventually:holds(fun() -> [#{left := Left, open := Open}] = py_service:list(), Left > Before andalso Open =:= 0 end, ?WAIT_MS).

a_coroutine_is_awaited(Config) ->
    {ok, Soon} = start(Config, #{name => soon, handler => "served:soon", replicas => 1}),
    ?assertMatch({200, _, <<"{\"soon\": true}">>}, py_http:once(port(Soon), "/")).

erlang_asks_without_http(Config) ->
    Service = ?config(service, Config),
    ?assertMatch({ok, #{status := 200, body := <<"Hello, world!">>}}, py_service:invoke(Service, #{})),
    ?assertMatch(
        {ok, #{status := 201, headers := [{<<"content-type">>, <<"application/octet-stream">>} | _], body := <<0, 255>>}},
        py_service:invoke(Service, #{path => "/made"})
    ),
    ?assertMatch({ok, #{body := <<"piece 0;piece 1;piece 2;">>}}, py_service:invoke(Service, #{path => <<"/pieces">>})),
    {ok, #{status := 200, body := Seen}} = py_service:invoke(Service, #{path => "/seen", body => "abc", headers => #{"Content-Type" => "text/x"}}),
    ?assertMatch({match, _}, re:run(Seen, "\"body\": \"abc\", \"method\": \"POST\"")),
    ?assertEqual({error, {py, timeout}}, py_service:invoke(Service, #{path => "/nap?seconds=30", timeout => 1_000})),
    ?assertEqual({error, {py, {unknown_service, nobody}}}, py_service:invoke(nobody, #{})),
    ?assertError({py, {unknown_service, nobody}}, py_service:url(nobody)),
    ?assertEqual({error, {py, {unknown_service, <<"nobody">>}}}, py_service:stop(<<"nobody">>)),
    ?assertEqual([], py_application:messages()).

the_id_of_a_request_goes_to_the_log_of_its_worker(Config) ->
    Test = self(),
    ok = logger:add_handler(?FUNCTION_NAME, ?MODULE, #{config => Test}),
    try
        Socket = py_http:connect(?config(port, Config)),
        {200, _, _} = py_http:get(Socket, "/log", [{"x-request-id", "id-1"}]),
        {500, _, _} = py_http:get(Socket, "/fail", [{"x-request-id", "id-2"}]),
        py_http:close(Socket),
        logged("seen \\{\"size\": 0\\} \\(request id-1\\)"),
        logged("request id-2 failed: LookupError(.|\\n)*what the client must not see")
    after
        logger:remove_handler(?FUNCTION_NAME)
    end,
    _ = py_application:messages(),
    ok.

logged(Pattern) ->
    receive
        {log, Text} ->
            case re:run(Text, Pattern, [{capture, none}]) of
                match -> ok;
                nomatch -> logged(Pattern)
            end
    after ?WAIT_MS -> error({not_logged, Pattern})
    end.

%% As a handler of `logger'.
log(#{msg := Message} = Event, #{config := Test}) ->
    Text = logger_formatter:format(Event#{msg := Message}, #{single_line => false}),
    Test ! {log, unicode:characters_to_binary(Text)}.

the_front_says_how_it_is(Config) ->
    Port = ?config(port, Config),
    ?assertMatch({200, _, <<"{\"status\":\"ok\"}">>}, py_http:once(Port, "/-/health")),
    ?assertMatch({200, _, <<"{\"status\":\"ready\"}">>}, py_http:once(Port, "/-/ready")),
    ?assertMatch({404, _, _}, py_http:once(Port, "/-/nothing")),
    [{200, _, _} = py_http:once(Port, "/") || _ <- lists:seq(1, 3)],
    {200, #{<<"content-type">> := <<"text/plain; version=0.0.4; charset=utf-8">>}, Text} = py_http:once(Port, "/-/metrics"),
    ?assertMatch({match, _}, re:run(Text, "py_service_requests_total\\{service=\"served:handler\",status=\"200\"\\} 3\n")),
    ?assertMatch({match, _}, re:run(Text, "py_service_request_seconds_count\\{service=\"served:handler\"\\} 3\n")),
    ?assertMatch({match, _}, re:run(Text, "py_pool_workers\\{pool=\"py_service_1\"\\} 2\n")),
    [#{name := <<"served:handler">>, state := ready, replicas := 2, threads := 1, max_queue := 64, requests := 3, statuses := #{200 := 3}}] =
        py_service:list().

a_killed_replica_costs_the_request_that_ran(Config) ->
    Port = ?config(port, Config),
    Test = self(),
    Clients = [spawn_link(fun() -> client(py_http:connect(Port), [], Test) end) || _ <- lists:seq(1, 16)],
    killed(20, Port),
    [Client ! stop || Client <- Clients],
    Answers = lists:append([receive {Client, Some} -> Some after ?WAIT_MS -> error(silence) end || Client <- Clients]),
    Counts = maps:map(fun(_, Some) -> length(Some) end, maps:groups_from_list(fun(Status) -> Status end, Answers)),
    ct:log("~p", [Counts]),
    ?assertEqual([], maps:keys(Counts) -- [200, 502]),
    ?assert(maps:get(502, Counts, 0) =< 20),
    ?assert(maps:get(200, Counts) > 20).

client(Socket, Acc, Test) ->
    receive
        stop -> py_http:close(Socket), Test ! {self(), Acc}
    after 0 ->
        case py_http:get(Socket, "/nap?seconds=0.005") of
            {Status, _, _} -> client(Socket, [Status | Acc], Test);
            closed -> client(Socket, [closed | Acc], Test)
        end
    end.

%% Each time a replica that serves is killed: the next one when that one has been replaced.
killed(0, _Port) ->
    ok;
killed(Left, Port) ->
    case py_http:once(Port, "/pid") of
        {200, _, Pid} ->
            OsPid = binary_to_integer(Pid),
            py_os_process:kill(OsPid),
            py_eventually:holds(fun() -> not py_os_process:alive(OsPid) end, ?WAIT_MS),
            killed(Left - 1, Port);
        {502, _, _} ->
            killed(Left, Port)
    end.

a_front_that_does_not_answer_is_replaced(Config) ->
    Port = ?config(port, Config),
    [#{fronts := [Front]}] = py_service:list(),
    [Process] = [Each || Each <- processes(), proc_lib:translate_initial_call(Each) =:= {py_front, init, 1}],
    %% One that answers stays, however often it is asked: what it says of itself comes behind its answer.
    [begin Process ! {timeout, make_ref(), ping}, {200, _, _} = py_http:once(Port, "/-/metrics") end || _ <- lists:seq(1, 10)],
    ?assertMatch([#{fronts := [Front]}], py_service:list()),
    [] = os:cmd(["kill -STOP ", integer_to_list(Front)]),
    Monitor = monitor(process, Process),
    %% They are 5 s apart else.
    [Process ! {timeout, make_ref(), ping} || _ <- lists:seq(1, 7)],
    receive {'DOWN', Monitor, _, _, Reason} -> ?assertEqual({shutdown, silent}, Reason) after ?WAIT_MS -> error(still_there) end,
    py_eventually:holds(fun() -> [#{fronts := Fronts}] = py_service:list(), length(Fronts) =:= 1 andalso Fronts =/= [Front] end, ?WAIT_MS),
    {200, _, _} = py_http:once(Port, "/"),
    py_eventually:equals(false, fun() -> py_os_process:alive(Front) end, ?WAIT_MS).

a_killed_front_is_replaced_at_its_port(Config) ->
    Port = ?config(port, Config),
    {200, _, _} = py_http:once(Port, "/"),
    [#{fronts := [Front], pool := Pool}] = py_service:list(),
    Replicas = [OsPid || #{os_pid := OsPid} <- py_pools:workers(Pool)],
    py_os_process:kill(Front),
    py_eventually:holds(fun() -> [#{fronts := Fronts}] = py_service:list(), length(Fronts) =:= 1 andalso Fronts =/= [Front] end, ?WAIT_MS),
    {200, _, Replica} = py_http:once(Port, "/pid"),
    ?assert(lists:member(binary_to_integer(Replica), Replicas)),
    ?assertEqual(Replicas, [OsPid || #{os_pid := OsPid} <- py_pools:workers(Pool)]),
    %% What it had counted is not lost, and the port is nobody else's.
    ?assertMatch({error, {py, {service, <<"other">>, _}}}, start(Config, #{name => other, port => Port})).

a_full_queue_and_a_deadline_are_told(Config) ->
    File = file(Config, "go"),
    {ok, Small} = start(Config, #{name => small, replicas => 1, max_queue => 1, timeout => ?LONG_MS}),
    {Waiting, Refused} = {[py_http:connect(port(Small)) || _ <- lists:seq(1, 2)], [py_http:connect(port(Small)) || _ <- lists:seq(1, 3)]},
    waits(Waiting, File, Small),
    [?assertMatch({503, #{<<"retry-after">> := <<"1">>}, _}, py_http:get(Socket, "/")) || Socket <- Refused],
    ok = file:write_file(File, ""),
    [?assertMatch({200, _, _}, py_http:response(Socket)) || Socket <- Waiting],
    ok = py_service:stop(Small),
    lists:foreach(fun py_http:close/1, Waiting ++ Refused),
    {ok, Short} = start(Config, #{name => short, replicas => 1, timeout => 1_000}),
    ?assertMatch({504, _, _}, py_http:once(port(Short), "/nap?seconds=60")),
    %% The worker is free again.
    py_eventually:holds(fun() -> element(1, py_http:once(port(Short), "/")) =:= 200 end, ?WAIT_MS).

%% Requests that end when there is that file; each is open when this returns.
waits(Sockets, File, Service) ->
    [ok = py_http:send(Socket, py_http:request("GET", ["/wait?file=", uri_string:quote(File)], [], "")) || Socket <- Sockets],
    Count = length(Sockets),
    py_eventually:equals([Count], fun() -> [Open || #{name := Name, open := Open} <- py_service:list(), Name =:= Service] end, ?WAIT_MS).

a_drain_answers_all_that_is_open(Config) ->
    {Port, Service, File} = {?config(port, Config), ?config(service, Config), file(Config, "drained")},
    Sockets = [py_http:connect(Port) || _ <- lists:seq(1, 8)],
    waits(Sockets, File, Service),
    Other = py_http:connect(Port),
    Stopper = spawn_link(fun() -> ok = py_service:stop(Service, ?LONG_MS) end),
    Monitor = monitor(process, Stopper),
    py_eventually:holds(fun() -> element(1, py_http:get(Other, "/-/ready")) =:= 503 end, ?WAIT_MS),
    ?assertMatch({503, #{<<"retry-after">> := _}, _}, py_http:get(Other, "/")),
    ok = file:write_file(File, ""),
    [?assertMatch({200, _, _}, py_http:response(Socket)) || Socket <- Sockets],
    receive {'DOWN', Monitor, process, Stopper, Reason} -> ?assertEqual(normal, Reason) after ?WAIT_MS -> error(silence) end,
    ?assertEqual([], py_service:list()),
    lists:foreach(fun py_http:close/1, [Other | Sockets]).

a_stop_of_the_application_answers_all_that_is_open(Config) ->
    {Port, Service, File} = {?config(port, Config), ?config(service, Config), file(Config, "stopped")},
    Sockets = [py_http:connect(Port) || _ <- lists:seq(1, 8)],
    waits(Sockets, File, Service),
    Other = py_http:connect(Port),
    {Stopper, Monitor} = spawn_monitor(fun() -> {ok, stopped} = py:stop(?LONG_MS) end),
    py_eventually:holds(fun() -> element(1, py_http:get(Other, "/-/ready")) =:= 503 end, ?WAIT_MS),
    ?assertMatch({503, #{<<"retry-after">> := _}, _}, py_http:get(Other, "/")),
    ok = file:write_file(File, ""),
    [?assertMatch({200, _, _}, py_http:response(Socket)) || Socket <- Sockets],
    receive {'DOWN', Monitor, process, Stopper, Reason} -> ?assertEqual(normal, Reason) after ?WAIT_MS -> error(silence) end,
    ?assertMatch({error, econnrefused}, gen_tcp:connect({127, 0, 0, 1}, Port, [])),
    lists:foreach(fun py_http:close/1, [Other | Sockets]).

nothing_is_left_of_a_killed_node(Config) ->
    Ebin = filename:dirname(code:which(py)),
    {ok, Peer, _} = peer:start(#{connection => standard_io, args => ["-pa", filename:absname(Ebin)]}),
    ok = peer:call(Peer, application, load, [py]),
    ok = peer:call(Peer, application, set_env, [py, pools, [{default, none}]]),
    {ok, started} = peer:call(Peer, py, start, [], ?WAIT_MS),
    Options = #{handler => "served:handler", python_path => [filename:absname(?config(data_dir, Config))], init_function => init,
        init_parameters => #{greeting => <<"hey">>}},
    {ok, Service} = peer:call(Peer, py_service, start, [Options], ?WAIT_MS),
    #{port := Port} = uri_string:parse(peer:call(Peer, py_service, url, [Service], ?WAIT_MS)),
    ?assertMatch({200, _, _}, py_http:once(Port, "/")),
    Beam = list_to_integer(peer:call(Peer, os, getpid, [], ?WAIT_MS)),
    Left = [OsPid || {OsPid, _} <- py_os_process:descendants(Beam)],
    ?assert(length(Left) >= 3),
    py_os_process:kill(Beam),
    py_eventually:equals([], fun() -> [OsPid || OsPid <- Left, py_os_process:alive(OsPid)] end, ?WAIT_MS),
    ?assertMatch({error, econnrefused}, gen_tcp:connect({127, 0, 0, 1}, Port, [])).

a_token_or_tls_is_asked_of_others(Config) ->
    ?assertError(badarg, start(Config, #{name => open, ip => "0.0.0.0"})),
    File = file(Config, "token"),
    {ok, Closed} = start(Config, #{name => closed, replicas => 1, ip => <<"0.0.0.0">>, token_file => File}),
    {ok, Text} = file:read_file(File),
    ?assertEqual("600", string:trim(os:cmd("stat -c %a '" ++ File ++ "'"))),
    Token = string:trim(Text),
    Socket = py_http:connect(port(Closed)),
    ?assertMatch({200, _, _}, py_http:get(Socket, "/", [{"authorization", ["Bearer ", Token]}])),
    [
        ?assertMatch({401, _, _}, begin S = py_http:connect(port(Closed)), Answer = py_http:get(S, Path, Headers), py_http:close(S), Answer end)
     || {Path, Headers} <- [
            {"/", []}, {"/", [{"authorization", ["Bearer ", Token, "x"]}]}, {"/", [{"authorization", ["Basic ", Token]}]}, {"/-/metrics", []}
        ]
    ],
    ?assertMatch({200, _, _}, py_http:get(Socket, "/-/ready")),
    py_http:close(Socket),
    ok = file:change_mode(File, 8#644),
    {error, {py, {service, <<"read">>, Why}}} = start(Config, #{name => read, token_file => File}),
    ?assertNotEqual(nomatch, string:find(Why, "chmod 600")).

a_front_may_have_its_replicas_called_and_nothing_else(_Config) ->
    [#{path := Path, role := front}] = py:gateways(),
    {#{role := front} = Info, Front} = py_driver:connect(Path, #{}),
    ?assertNot(is_map_key(key, Info)),
    Body = fun(Module, Function, Args) -> iolist_to_binary(py_wire:body(Module, Function, Args)) end,
    Handle = Body('erl.serving.replica', handle, [<<8:32, "a\nGET\n/\nh">>]),
    [
        begin
            py_driver:send(Front, {submit, Id, Route, Bytes}),
            ?assertMatch({failed, _, _, _}, py_driver:answer(Front, Id))
        end
     || {Id, Route, Bytes} <- [
            {1, #{}, Body(os, system, [<<"true">>])},
            {2, #{}, Body('erl.serving.replica', start, [<<>>])},
            {3, #{}, Body('erl.serving.replica', handle, [<<>>, <<>>])},
            {4, #{}, Body('erl.serving.replica', handle, [#{}])},
            {5, #{}, Body('erl.serving.replica', more, [<<1:64>>])},
            {6, #{stream => 1}, Body('erl.serving.replica', more, [<<1:64>>])},
            {7, #{service => <<"another">>}, Handle},
            {8, #{stream => 1}, Handle}
        ]
    ],
    py_driver:send(Front, {submit, 9, #{service => <<"served:handler">>, pool => default, timeout => 60_000}, Handle}),
    ?assertMatch({done, trusted, {r, _, <<200:16, _/binary>>}}, py_driver:answer(Front, 9)),
    py_driver:send(Front, {call, 10, erlang, node, []}),
    ?assertMatch({refused, bad_message, _}, py_driver:next(Front)),
    py_driver:close(Front).

what_can_not_start_says_why(Config) ->
    Missing = filename:absname(filename:join([?config(priv_dir, Config), "none", "python"])),
    ?assertMatch({error, {py, {start, _, _}}}, start(Config, #{name => missing, handler => "served:nothing"})),
    ?assertMatch({error, {py, _}}, start(Config, #{name => missing, python => Missing})),
    ?assertMatch({error, {py, {service, <<"served:handler">>, _}}}, start(Config, #{})),
    [
        ?assertError(badarg, start(Config, Options))
     || Options <- [#{handler => "nothing"}, #{replicas => 0}, #{size => 3}, #{port => 70_000}, #{max_body => 66_060_289}, #{ip => "example.org"}, #{unknown => 1}]
    ],
    ?assertError(badarg, py_service:start(#{})),
    ?assertMatch([_], py_service:list()).
