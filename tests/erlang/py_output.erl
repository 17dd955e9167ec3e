%%% A group leader that keeps what is printed.
-module(py_output).

-export([of_call/1, start/0, text/1, stop/1]).

%% @doc A group leader of its own; give it to a process with `group_leader/2'.
-spec start() -> pid().
start() -> spawn_link(fun() -> loop([]) end).

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
of_call(Fun) ->
    Before = group_leader(),
    Leader = start(),
    group_leader(Leader, self()),
    try
        {Fun(), Leader}
    after
        group_leader(Before, self())
    end.

loop(Parts) ->
    receive
        {io_request, From, Reply, Request} ->
            {Answer, Printed} = request(Request),
            From ! {io_reply, Reply, Answer},
            loop([Parts, Printed]);
        {text, From, Tag} ->
            From ! {Tag, unicode:characters_to_list(Parts)},
            loop(Parts)
    end.

request({put_chars, _Encoding, Text}) -> {ok, Text};
request({put_chars, _Encoding, M, F, A}) -> {ok, apply(M, F, A)};
request({requests, Requests}) ->
    {_, Printed} = lists:unzip([request(Request) || Request <- Requests]),
    {ok, Printed};
request({get_geometry, _}) -> {{error, enotsup}, []};
request(getopts) -> {[{encoding, unicode}], []};
request(_) -> {{error, request}, []}.
