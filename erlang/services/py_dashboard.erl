%%% @doc A page in the browser that shows what this node does: pools and workers, durable runs, services, sessions, environments.
%%%
%%% ```
%%% 1> {ok, Url} = py_dashboard:start(#{}).
%%% {ok,<<"http://127.0.0.1:43571/?token=...">>}
%%% '''
%%%
%%% It is off by default. Who has the URL may look, stop runs and restart workers; the browser keeps a cookie in its place. It is served by a Python of
%%% its own, with `uvicorn' and `starlette' (the extra `serve'), which ends with the node and is started again where it dies. `docs/page.md' has the rest.
-module(py_dashboard).

-export([start/0, start/1, stop/0, url/0, configured/0, start_configured/0]).
-export_type([options/0]).

-type options() :: #{
    ip => string() | binary() | inet:ip_address(),
    port => inet:port_number(),
    hosts => [string() | binary()],
    python => file:name_all()
}.
%% `ip': the address that it listens at; `"127.0.0.1"', so nobody sees it from elsewhere. `port': 0, one that is free. `hosts': names that browsers may
%% call it by, beside `localhost' and the address. `python': the interpreter that serves it; that of a pool where nothing is said.

-define(TOKEN_BYTES, 32).

%% @doc Like {@link start/1} with no options.
-spec start() -> {ok, Url :: binary()} | {error, {py, py_error:reason()}}.
start() -> start(#{}).

%% @doc Serve the page; returns when it can be looked at, with its URL, which has the token that lets in. Errors: `{page, Text}' where it can't be
%% served or is served already, `not_started'; `badarg' for options.
-spec start(options()) -> {ok, Url :: binary()} | {error, {py, py_error:reason()}}.
start(Options) ->
    case check(Options) of
        {ok, Checked} -> started(Checked);
        {error, Problem} -> py_error:badarg(1, py_options:describe(Problem), {start, [Options]})
    end.

started(Checked) ->
    Token = binary:encode_hex(crypto:strong_rand_bytes(?TOKEN_BYTES)),
    Settings = Checked#{token => py_secret:hide(string:lowercase(Token)), secret => py_secret:hide(crypto:strong_rand_bytes(?TOKEN_BYTES))},
    case py_dashboard_sup:start_page(Settings) of
        {ok, Server} ->
            case py_dashboard_server:await(Server) of
                {ok, _} = Ok -> Ok;
                {error, Text} -> py_dashboard_sup:stop_page(), {error, {py, {page, Text}}}
            end;
        {error, already_started} ->
            {error, {py, {page, "it is served already: py_dashboard:url/0 says where"}}};
        {error, not_started} ->
            {error, {py, not_started}}
    end.

%% @doc Serve it no more. Nothing of it is left when this returns.
-spec stop() -> ok.
stop() -> py_dashboard_sup:stop_page().

%% @doc The URL that lets in, as {@link start/1} has returned it; `undefined' where the page is not served.
-spec url() -> binary() | undefined.
url() -> py_dashboard_server:url().

%% @doc The page of the application's environment, `page': a map of options, `true' for none of them. Checked.
-spec configured() -> {ok, options() | none} | {error, {bad_config, page, py_options:problem()}}.
configured() ->
    case application:get_env(py, page, false) of
        false -> {ok, none};
        true -> {ok, #{}};
        Options ->
            case check(Options) of
                {ok, _} -> {ok, py_options:from_list(Options)};
                {error, Problem} -> {error, {bad_config, page, Problem}}
            end
    end.

%% @doc Serve the page that the application's environment asks for, and print its URL. What keeps it from being served is told in the log, and costs
%% nothing else.
%% @private
-spec start_configured() -> ok.
start_configured() ->
    case configured() of
        {ok, Options} when Options =/= none ->
            case start(Options) of
                {ok, Url} -> io:format("py: the page is at ~ts~n", [Url]);
                {error, Error} -> logger:error("the page is not served: ~ts", [py_error:text(Error)], #{domain => [py]})
            end;
        _ ->
            ok
    end.

check(Options) ->
    Table = #{
        ip => {"127.0.0.1", fun is_ip/1, "an address, such as \"127.0.0.1\" or {127, 0, 0, 1}"},
        port => {0, fun(Port) -> is_integer(Port) andalso Port >= 0 andalso Port < 65_536 end, "a port, 0 to 65535"},
        hosts => {[], fun are_hosts/1, "a list of names"},
        python => {undefined, fun py_gateway_options:is_path/1, "the path of an interpreter"}
    },
    case py_options:check(py_options:from_list(Options), [Table]) of
        {ok, Checked} -> {ok, shaped(maps:merge(#{ip => "127.0.0.1", port => 0, hosts => [], python => undefined}, Checked))};
        Error -> Error
    end.

shaped(#{ip := Ip, hosts := Hosts} = Options) ->
    {ok, Address} = address(Ip),
    Options#{ip := list_to_binary(inet:ntoa(Address)), hosts := [string:lowercase(unicode:characters_to_binary(Host)) || Host <- Hosts]}.

is_ip(Ip) -> element(1, address(Ip)) =:= ok.

address(Ip) when is_tuple(Ip) ->
    case inet:ntoa(Ip) of
        {error, _} = Error -> Error;
        _ -> {ok, Ip}
    end;
address(Ip) when is_binary(Ip) -> address(binary_to_list(Ip));
address(Ip) when is_list(Ip) -> try inet:parse_strict_address(Ip) catch error:_ -> {error, einval} end;
address(_) -> {error, einval}.

are_hosts(Hosts) -> is_list(Hosts) andalso length(Hosts) =< 64 andalso lists:all(fun is_host/1, Hosts).

is_host(Host) when is_binary(Host) ->
    re:run(Host, "^[A-Za-z0-9.:\\[\\]_-]{1,255}$") =/= nomatch;
is_host(Host) ->
    io_lib:printable_latin1_list(Host) andalso is_host(list_to_binary(Host)).
