%%% A group leader that keeps what is printed.
-module(py_output).

-export([of_call/1, of_terminal_call/1, start/0, text/1, stop/1]).

%% @doc A group leader of its own; give it to a process with `group_leader/2'.
-spec start() -> pid().
start() -> start(#{}).

start(Geometry) -> spawn_link(fun() -> loop([], Geometry) end).

%% @doc What has been printed so far.
-spec text(pid()) -> string().
text(Leader) ->
    Monitor = monitor(process, Leader),
    Leader ! {text, self(), Monitor},
    receive
        {Monitor, Text} ->
            demonitor(Monitor, [flush]),
            Text;
        {'DOWN', Monitor, process, Leader, Reason} ->
            error(Reason)
    end.

-spec stop(pid()) -> ok.
stop(Leader) ->
    unlink(Leader),
    exit(Leader, kill),
    ok.

%% @doc Run in this process with a group leader of its own: `{Result, Leader}'. Ask the leader with {@link text/1},
%% end it with {@link stop/1}.
-spec of_call(fun(() -> Result)) -> {Result, pid()}.
of_call(Fun) -> of_call(Fun, start()).

%% @doc The same with a group leader that says it is a terminal of 80 columns.
-spec of_terminal_call(fun(() -> Result)) -> {Result, pid()}.
of_terminal_call(Fun) -> of_call(Fun, start(#{columns => 80, rows => 24})).

of_call(Fun, Leader) ->
    Before = group_leader(),
    group_leader(Leader, self()),
    try
        {Fun(), Leader}
    after
        group_leader(Before, self())
    end.

loop(Parts, Geometry) ->
    receive
        {io_request, From, Reply, {get_geometry, Which}} ->
            From ! {io_reply, Reply, maps:get(Which, Geometry, {error, enotsup})},
            loop(Parts, Geometry);
        {io_request, From, Reply, Request} ->
            {Answer, Printed} = request(Request),
            From ! {io_reply, Reply, Answer},
            loop([Parts, Printed], Geometry);
        {text, From, Tag} ->
            From ! {Tag, unicode:characters_to_list(Parts)},
            loop(Parts, Geometry)
    end.

request({put_chars, _Encoding, Text}) -> {ok, Text};
request({put_chars, _Encoding, M, F, A}) -> {ok, apply(M, F, A)};
request({requests, Requests}) ->
    {_, Printed} = lists:unzip([request(Request) || Request <- Requests]),
    {ok, Printed};
request(getopts) -> {[{encoding, unicode}], []};
request(_) -> {{error, request}, []}.
