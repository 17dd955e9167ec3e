%%% What clients send to a service, and how: several requests at once, what is none, half of one; what stands in an answer's head.
-module(py_service_http_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-export([suite/0, all/0, init_per_suite/1, end_per_suite/1, init_per_testcase/2, end_per_testcase/2]).
-export([
    requests_that_are_sent_together_are_answered_in_order/1,
    what_is_sent_behind_an_open_request_waits/1,
    headers_that_are_none_are_the_handlers_fault/1,
    no_malformed_request_is_answered_as_one/1,
    half_open_clients_hurt_nobody/1
]).

suite() -> [{timetrap, {minutes, 3}}].

all() -> [
    requests_that_are_sent_together_are_answered_in_order,
    what_is_sent_behind_an_open_request_waits,
    headers_that_are_none_are_the_handlers_fault,
    no_malformed_request_is_answered_as_one,
    half_open_clients_hurt_nobody
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
            %% Its handlers are those of the suite of services.
            Handlers = filename:join(filename:dirname(filename:absname(?config(data_dir, Config))), "py_service_SUITE_data"),
            Options = #{handler => "served:handler", python_path => [Handlers], timeout => ?LONG_MS},
            {ok, Service} = py_service:start(Options#{init_function => init, init_parameters => #{greeting => <<"hey">>}}),
            #{port := Port} = uri_string:parse(py_service:url(Service)),
            [{service, Service}, {port, Port} | Config]
    end.

end_per_suite(_Config) -> ok = py_application:stop().

init_per_testcase(_Case, Config) -> Config.

end_per_testcase(_Case, _Config) ->
    _ = py_application:messages(),
    ok.

file(Config, Name) -> filename:absname(filename:join(?config(priv_dir, Config), Name)).

requests_that_are_sent_together_are_answered_in_order(Config) ->
    Socket = py_http:connect(?config(port, Config)),
    Json = [{"content-type", "application/json"}],
    ok = py_http:send(Socket, [
        py_http:request("GET", "/seen?n=1", [], ""),
        py_http:request("POST", "/seen?n=2", Json, "{\"k\": 2}"),
        py_http:request("GET", "/pieces", [], ""),
        py_http:request("HEAD", "/seen?n=4", [{"x-request-id", "four"}], ""),
        py_http:request("GET", "/seen?n=5", [{"connection", "close"}], "")
    ]),
    {All, Last} = until_closed(Socket, <<>>),
    {match, Found} = re:run(All, "HTTP/1.1 200 OK|\"n\": \"(\\d)\"|piece 2;|x-request-id: four", [global, {capture, first, binary}]),
    Ok = <<"HTTP/1.1 200 OK">>,
    ?assertEqual(
        {[Ok, <<"\"n\": \"1\"">>, Ok, <<"\"n\": \"2\"">>, Ok, <<"piece 2;">>, Ok, <<"x-request-id: four">>, Ok, <<"\"n\": \"5\"">>], closed},
        {[Each || [Each] <- Found], Last}
    ).

until_closed(Socket, Acc) ->
    case gen_tcp:recv(Socket, 0, ?WAIT_MS) of
        {ok, Data} -> until_closed(Socket, <<Acc/binary, Data/binary>>);
        {error, Reason} -> {Acc, Reason}
    end.

%% Of the kinds that go to the replicas past the parser, and by it; the first of them is open until its file is there.
what_is_sent_behind_an_open_request_waits(Config) ->
    Port = ?config(port, Config),
    [
        begin
            File = file(Config, ["go_", integer_to_list(erlang:unique_integer([positive]))]),
            Socket = py_http:connect(Port),
            ok = py_http:send(Socket, py_http:request("GET", ["/wait?file=", File], First, "")),
            py_eventually:equals(true, fun() -> is_open(Config) end, ?WAIT_MS),
            ok = py_http:send(Socket, py_http:request("GET", "/seen?n=2", Second, "")),
            ok = py_http:send(Socket, py_http:request("GET", "/pieces", [], "")),
            ok = py_http:send(Socket, py_http:request("POST", "/seen?n=3", [], binary:copy(<<"b">>, 200_000))),
            ok = file:write_file(File, <<>>),
            All = until(<<"\"n\": \"3\"">>, Socket, <<>>),
            {match, Found} = re:run(All, "HTTP/1.1 \\d+|waited|\"n\": \"\\d\"|piece 2;", [global, {capture, first, binary}]),
            Ok = <<"HTTP/1.1 200">>,
            ?assertEqual([Ok, <<"waited">>, Ok, <<"\"n\": \"2\"">>, Ok, <<"piece 2;">>, Ok, <<"\"n\": \"3\"">>], [Each || [Each] <- Found]),
            %% One that is no request is told so behind the answer of the one before.
            ok = py_http:send(Socket, [py_http:request("GET", "/pid", First, ""), "GET / HTTP/9\r\n\r\n"]),
            ?assertMatch({match, _}, re:run(element(1, until_closed(Socket, <<>>)), "^HTTP/1.1 200(?s).*HTTP/1.1 400")),
            py_http:close(Socket)
        end
     || First <- [[], [{"te", "gzip"}]], Second <- [[], [{"te", "gzip"}]]
    ].

is_open(Config) -> [1] =:= [Open || #{name := Name, open := Open} <- py_service:list(), Name =:= ?config(service, Config)].

until(Text, Socket, Acc) ->
    case binary:match(Acc, Text) of
        nomatch ->
            {ok, Data} = gen_tcp:recv(Socket, 0, ?WAIT_MS),
            until(Text, Socket, <<Acc/binary, Data/binary>>);
        _ ->
            Acc
    end.

headers_that_are_none_are_the_handlers_fault(Config) ->
    Socket = py_http:connect(?config(port, Config)),
    [
        ?assertMatch({500, _, <<"{\"error\": \"ValueError\"", _/binary>>}, py_http:get(Socket, ["/headers?name=", Name, "&value=", Value]))
     || {Name, Value} <- [{"a%20b", "c"}, {"a", "b%0d%0aset-cookie:%20c"}, {"a%0a", "b"}, {"", "b"}, {"a:", "b"}, {"a", "b%00"}, {"a", "b%7f"}]
    ],
    {200, Headers, <<"none of these">>} = py_http:get(Socket, "/headers?name=X-A&value=b%09%c3%a4"),
    ?assertEqual(<<"b\t", 16#e4>>, map_get(<<"x-a">>, Headers)),
    %% Where an answer ends the front says.
    {200, Own, <<"none of these">>} = py_http:get(Socket, "/headers?name=Transfer-Encoding&value=chunked"),
    ?assertNot(is_map_key(<<"transfer-encoding">>, Own)),
    py_http:close(Socket),
    _ = py_application:messages(),
    ok.

malformed() ->
    H = "Host: localhost\r\n",
    [
        "\r\n\r\n\r\n\r\nGET\r\n\r\n",
        "GET / HTTP/1.1\r\n\r\n",
        ["GET / HTTP/1.1\r\n", H, H, "\r\n"],
        ["GET  / HTTP/1.1\r\n", H, "\r\n"],
        ["GET / HTTP/2.0\r\n", H, "\r\n"],
        ["GET / HTTP/1.1 \r\n", H, "\r\n"],
        ["G\0T / HTTP/1.1\r\n", H, "\r\n"],
        ["GET /\x01 HTTP/1.1\r\n", H, "\r\n"],
        ["GET http://localhost/ HTTP/1.1\r\n", H, "\r\n"],
        ["CONNECT localhost:80 HTTP/1.1\r\n", H, "\r\n"],
        ["GET / HTTP/1.1\n", "Host: localhost\n\n"],
        ["GET / HTTP/1.1\r\n", H, "X: a\r\n b\r\n\r\n"],
        ["GET / HTTP/1.1\r\n", H, "X : a\r\n\r\n"],
        ["GET / HTTP/1.1\r\n", H, ": a\r\n\r\n"],
        ["GET / HTTP/1.1\r\n", H, "X: a\0b\r\n\r\n"],
        ["GET / HTTP/1.1\r\n", H, "no colon\r\n\r\n"],
        ["POST / HTTP/1.1\r\n", H, "Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello"],
        ["POST / HTTP/1.1\r\n", H, "Content-Length: +5\r\n\r\nhello"],
        ["POST / HTTP/1.1\r\n", H, "Content-Length: 5, 5\r\n\r\nhello"],
        ["POST / HTTP/1.1\r\n", H, "Content-Length: -1\r\n\r\n"],
        ["POST / HTTP/1.1\r\n", H, "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"],
        ["POST / HTTP/1.1\r\n", H, "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"],
        ["POST / HTTP/1.1\r\n", H, "Transfer-Encoding: chunked\r\n\r\nzz\r\nhello\r\n0\r\n\r\n"],
        ["POST / HTTP/1.1\r\n", H, "Transfer-Encoding: chunked\r\n\r\n5\r\nhelloo\r\n0\r\n\r\n"],
        ["POST / HTTP/1.0\r\n", H, "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"],
        ["GET / HTTP/1.1\r\n", "Host: evil.example\r\n\r\n"],
        [22, 3, 1, 0, 200, 1, 0, 0, 196, 3, 3]
    ].

no_malformed_request_is_answered_as_one(Config) ->
    Port = ?config(port, Config),
    All = malformed(),
    ?assertEqual(27, length(All)),
    Answers = [{Each, py_http:raw(Port, Each)} || Each <- All],
    ?assertEqual([], [Each || {Each, <<>>} <- Answers]),
    ?assertEqual([], [Each || {Each, Answer} <- Answers, binary:match(Answer, <<"HTTP/1.1 4">>) =/= {0, 10}, binary:match(Answer, <<"HTTP/1.1 505">>) =/= {0, 12}]),
    ?assertEqual([], [Each || {Each, Answer} <- Answers, binary:match(Answer, <<" 200 ">>) =/= nomatch]),
    H = "Host: localhost\r\n",
    [
        ?assertMatch(<<"HTTP/1.1 ", Status:3/binary, " ", _/binary>>, py_http:raw(Port, Bytes))
     || {Status, Bytes} <- [
            {<<"414">>, ["GET /", lists:duplicate(9_000, $a)]},
            {<<"431">>, ["GET / HTTP/1.1\r\n", H, "X: ", lists:duplicate(40_000, $a)]},
            {<<"431">>, ["GET / HTTP/1.1\r\n", H, [["X", integer_to_list(N), ": 1\r\n"] || N <- lists:seq(1, 200)], "\r\n"]},
            {<<"413">>, ["POST / HTTP/1.1\r\n", H, "Content-Length: 99999999999\r\n\r\n"]},
            {<<"413">>, ["POST / HTTP/1.1\r\n", H, "Transfer-Encoding: chunked\r\n\r\nfffffff\r\n"]},
            {<<"417">>, ["POST / HTTP/1.1\r\n", H, "Expect: a miracle\r\nContent-Length: 1\r\n\r\n"]}
        ]
    ],
    %% What stands behind a request is not answered before it, and one that is none ends the connection.
    Both = py_http:raw(Port, [py_http:request("GET", "/", [], ""), "NONE\r\n\r\n"]),
    ?assertMatch({match, [{0, _} | _]}, re:run(Both, "HTTP/1.1 200 (.|\\r|\\n)*Hello, world!HTTP/1.1 400 ")),
    ?assertMatch({200, _, _}, py_http:once(Port, "/")).

half_open_clients_hurt_nobody(Config) ->
    Port = ?config(port, Config),
    Sockets = [
        begin
            Socket = py_http:connect(Port),
            ok = py_http:send(Socket, lists:nth(1 + N rem 3, ["", "GET / HTTP/1.1\r\nHost: loc", "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n1"])),
            Socket
        end
     || N <- lists:seq(1, 300)
    ],
    Socket = py_http:connect(Port),
    [?assertMatch({200, _, _}, py_http:get(Socket, "/")) || _ <- lists:seq(1, 50)],
    %% Each is told that it was too slow.
    {408, _, _} = py_http:response(hd(Sockets)),
    {408, _, _} = py_http:response(lists:nth(3, Sockets)),
    ?assertMatch({200, _, _}, py_http:once(Port, "/")),
    lists:foreach(fun py_http:close/1, [Socket | Sockets]).
