%%% @doc The page's process: it owns the Python that serves the page, and does what that may ask for, nothing else.
%%%
%%% ```
%%% > {start, Version, Settings}      to Python, once
%%% < {ready, Version, Port}          it listens;   {failed, Text}: it can't, and ends
%%% < {watchers, N}                   so many browsers look; with none nobody looks at the node
%%% > {view, N, View}                 what there is (`py_page_rows')
%%% < {seen, N}                       it has been taken: the next may come
%%% < {ask, Id, What, Argument}       runs, run, log, stop_run, restart_worker, metrics
%%% > {answer, Id, ok | error, Value}
%%% < {log, Level, Text}
%%% '''
%%%
%%% They are frames of terms on the pipe of a port, so nobody else can say them. A view is on its way at a time, and a look at the node costs a tenth of
%%% the time at the most. See "The page" in docs/architecture.md.
%%% @private
-module(py_dashboard_server).
-behaviour(gen_server).

-export([start_link/1, await/1, url/0]).
-export([init/1, handle_continue/2, handle_call/3, handle_cast/2, handle_info/2, terminate/2, format_status/1]).
-export_type([settings/0]).

-type settings() :: #{
    ip := binary(), port := inet:port_number(), hosts := [binary()], python := file:name_all() | undefined,
    token := py_secret:secret(), secret := py_secret:secret()
}.

-record(state, {
    settings :: settings(),
    collector :: pid(),
    phase = starting :: starting | serving | waiting,
    program = none :: none | {port(), OsPid :: non_neg_integer()},
    %% Of the start that is under way, or the pause before the next one.
    timer = none :: none | reference(),
    served = none :: none | inet:port_number(),
    %% Whether it was ever served; how often it has failed since, or died soon.
    has_served = false :: boolean(),
    failures = 0 :: non_neg_integer(),
    since_ms = 0 :: integer(),
    waiting = [] :: [gen_server:from()],
    watchers = 0 :: non_neg_integer(),
    %% Nobody looks; a look was asked for, or its pause runs; a view is with Python.
    look = none :: none | looking | paused | {sent, pos_integer()},
    number = 0 :: non_neg_integer(),
    pause_ms = 0 :: non_neg_integer(),
    asking = #{} :: #{pid() => {Id :: term(), Timer :: reference()}}
}).

-define(VERSION, 1).
-define(START_MS, 60_000).
%% Two looks a second at the most, and a tenth of the time.
-define(LOOK_MS, 500).
-define(LOOK_SHARE, 9).
-define(MOST_ASKING, 32).
-define(ASKING_MS, 30_000).
-define(FIRST_PAUSE_MS, 200).
-define(MOST_PAUSE_MS, 5_000).
%% Who lives so long has not failed.
-define(LIVED_MS, 30_000).
-define(LOG_BYTES, 65_536).

-spec start_link(settings()) -> gen_server:start_ret().
start_link(Settings) -> gen_server:start_link(?MODULE, Settings, []).

%% @doc Wait until it is served for the first time; its URL, or why not.
-spec await(pid()) -> {ok, Url :: binary()} | {error, string()}.
await(Server) ->
    try
        gen_server:call(Server, await, infinity)
    catch
        exit:_ -> {error, "its process has ended"}
    end.

%% @doc The URL that lets in; `undefined' where it is not served.
-spec url() -> binary() | undefined.
url() ->
    case py_dashboard_sup:server() of
        {ok, Server} ->
            try
                gen_server:call(Server, url)
            catch
                exit:_ -> undefined
            end;
        error ->
            undefined
    end.

-spec init(settings()) -> {ok, #state{}, {continue, launch}}.
init(Settings) ->
    process_flag(trap_exit, true),
    py_dashboard_sup:put_server(self()),
    {ok, #state{settings = Settings, collector = py_page_collector:start_link()}, {continue, launch}}.

-spec handle_continue(launch, #state{}) -> {noreply, #state{}}.
handle_continue(launch, State) -> {noreply, launched(State)}.

-spec handle_call(term(), gen_server:from(), #state{}) -> {reply, term(), #state{}} | {noreply, #state{}}.
handle_call(await, _From, #state{phase = serving} = State) -> {reply, {ok, url(State)}, State};
handle_call(await, From, #state{waiting = Waiting} = State) -> {noreply, State#state{waiting = [From | Waiting]}};
handle_call(url, _From, #state{served = none} = State) -> {reply, undefined, State};
handle_call(url, _From, State) -> {reply, url(State), State};
handle_call(_Request, _From, State) -> {reply, {error, unknown_request}, State}.

-spec handle_cast(term(), #state{}) -> {noreply, #state{}}.
handle_cast(_Message, State) -> {noreply, State}.

-spec handle_info(term(), #state{}) -> {noreply, #state{}} | {stop, term(), #state{}}.
handle_info({Port, {data, Frame}}, #state{program = {Port, _}} = State) ->
    try binary_to_term(Frame, [safe]) of
        Message -> {noreply, message(Message, State)}
    catch
        error:badarg -> {noreply, failed("its Python has sent what is no message", State)}
    end;
handle_info({Port, {exit_status, Status}}, #state{program = {Port, _}} = State) ->
    {noreply, failed(lists:flatten(io_lib:format("its Python has ended (exit status ~w)", [Status])), State)};
handle_info({'EXIT', Port, _}, #state{program = {Port, _}} = State) ->
    {noreply, failed("its Python has closed its port", State)};
handle_info({timeout, Timer, start}, #state{timer = Timer} = State) ->
    {noreply, failed("its Python did not serve within a minute", State#state{timer = none})};
handle_info({timeout, Timer, launch}, #state{timer = Timer} = State) ->
    {noreply, launched(State#state{timer = none})};
handle_info({view, Collector, View, Ms}, #state{collector = Collector, look = looking} = State) ->
    {noreply, viewed(View, State#state{pause_ms = max(?LOOK_MS, ?LOOK_SHARE * Ms)})};
handle_info({timeout, _, look}, #state{look = paused} = State) ->
    {noreply, look(State#state{look = none})};
handle_info({answer, Pid, Status, Value}, #state{asking = Asking} = State) when is_map_key(Pid, Asking) ->
    {noreply, answered(Pid, Status, Value, State)};
handle_info({'DOWN', _, process, Pid, _}, #state{asking = Asking} = State) when is_map_key(Pid, Asking) ->
    {noreply, answered(Pid, error, <<"the node could not say: its log has why">>, State)};
handle_info({timeout, _, {asking, Pid}}, #state{asking = Asking} = State) when is_map_key(Pid, Asking) ->
    exit(Pid, kill),
    {noreply, answered(Pid, error, <<"the node has not answered within 30 seconds">>, State)};
handle_info({'EXIT', Collector, Reason}, #state{collector = Collector} = State) ->
    logger:warning("the page: a look at the node has failed: ~tP", [Reason, 20], #{domain => [py]}),
    Next = State#state{collector = py_page_collector:start_link()},
    {noreply, case Next of #state{look = looking} -> paused(?MOST_PAUSE_MS, Next); _ -> Next end};
handle_info(_Message, State) ->
    {noreply, State}.

-spec terminate(term(), #state{}) -> ok.
terminate(_Reason, State) ->
    _ = ended(State),
    ok.

%% The settings hide what is secret; what browsers have asked for is nobody's business.
-spec format_status(gen_server:format_status()) -> gen_server:format_status().
format_status(Status) -> maps:without([message, log], Status).

%%% The program

launched(#state{settings = Settings} = State) ->
    {ok, Config} = py_pool_options:check(maps:with([python], maps:filter(fun(_, Value) -> Value =/= undefined end, Settings))),
    case py_launcher:find(Config) of
        {ok, _Source, Python} ->
            case py_launcher:open_program(Python, py_launcher:arguments(["page"]), [{packet, 4}, nouse_stdio], Config#{env := []}) of
                {ok, Port, OsPid} ->
                    py_watchdog:watch(OsPid, []),
                    Next = State#state{program = {Port, OsPid}, phase = starting, timer = erlang:start_timer(?START_MS, self(), start)},
                    say({start, ?VERSION, settings(Settings)}, Next),
                    Next;
                {error, Reason} ->
                    failed(no_python(Reason), State)
            end;
        {error, Reason} ->
            failed(no_python(Reason), State)
    end.

no_python(Reason) -> lists:flatten(unicode:characters_to_list(py_error:start_text(Reason))).

%% One that was served before keeps its port: browsers know it.
settings(#{token := Token, secret := Secret, port := Given} = Settings) ->
    Port = case {Given, py_dashboard_sup:port()} of
        {0, {ok, Before}} -> Before;
        _ -> Given
    end,
    (maps:with([ip, hosts], Settings))#{
        port => Port,
        token => binary:encode_hex(crypto:hash(sha256, py_secret:reveal(Token))),
        secret => binary:encode_hex(py_secret:reveal(Secret)),
        most => py_page_rows:most()
    }.

url(#state{settings = #{ip := Ip, token := Token}, served = Port}) ->
    iolist_to_binary(["http://", host(Ip), $:, integer_to_list(Port), "/?token=", py_secret:reveal(Token)]).

host(Ip) ->
    case binary:match(Ip, <<":">>) of
        nomatch -> Ip;
        _ -> [$[, Ip, $]]
    end.

say(Message, #state{program = {Port, _}}) ->
    try port_command(Port, term_to_binary(Message)) of
        true -> ok
    catch
        error:badarg -> ok
    end;
say(_Message, _State) ->
    ok.

%% The program is gone, or is to go. Before it was ever served that is the start's failure.
failed(Text, State) ->
    #state{has_served = HasServed, failures = Failures, since_ms = Since} = Next = ended(State),
    case HasServed of
        false ->
            _ = [gen_server:reply(From, {error, Text}) || From <- Next#state.waiting],
            %% Who started it ends it. What the supervisor has started again tries on.
            later(Failures, Next#state{waiting = [], failures = Failures + 1});
        true ->
            logger:warning("the page: ~ts; it is started again", [Text], #{domain => [py]}),
            Lived = erlang:monotonic_time(millisecond) - Since > ?LIVED_MS,
            Count = if Lived -> 0; true -> Failures end,
            later(Count, Next#state{failures = Count + 1})
    end.

later(Failures, State) ->
    Ms = min(?MOST_PAUSE_MS, ?FIRST_PAUSE_MS bsl min(Failures, 10)),
    State#state{phase = waiting, timer = erlang:start_timer(Ms, self(), launch)}.

ended(#state{program = Program, timer = Timer, asking = Asking} = State) ->
    _ = Timer =/= none andalso erlang:cancel_timer(Timer),
    maps:foreach(fun(Pid, {_, Clock}) -> _ = erlang:cancel_timer(Clock), exit(Pid, kill) end, Asking),
    case Program of
        {Port, OsPid} ->
            _ = catch port_close(Port),
            py_launcher:end_group(OsPid),
            py_watchdog:forget(OsPid),
            %% What it has said before.
            receive {'EXIT', Port, _} -> ok after 0 -> ok end;
        none ->
            ok
    end,
    State#state{program = none, timer = none, watchers = 0, look = none, asking = #{}}.

%%% Messages

message({ready, ?VERSION, Port}, #state{phase = starting, timer = Timer, waiting = Waiting} = State) when is_integer(Port) ->
    _ = erlang:cancel_timer(Timer),
    py_dashboard_sup:put_port(Port),
    Next = State#state{
        phase = serving, timer = none, served = Port, has_served = true, waiting = [], since_ms = erlang:monotonic_time(millisecond)
    },
    _ = [gen_server:reply(From, {ok, url(Next)}) || From <- Waiting],
    Next;
message({failed, Text}, State) when is_binary(Text) ->
    failed(unicode:characters_to_list(py_reason:utf8(Text)), State);
message({watchers, Count}, State) when is_integer(Count), Count >= 0 ->
    look(State#state{watchers = Count});
message({seen, Number}, #state{look = {sent, Number}, pause_ms = Ms} = State) ->
    paused(Ms, State);
message({ask, Id, What, Argument}, #state{asking = Asking} = State) when is_integer(Id), map_size(Asking) < ?MOST_ASKING ->
    Server = self(),
    {Pid, _} = spawn_monitor(fun() ->
        {Status, Value} = asked(What, Argument),
        Server ! {answer, self(), Status, Value}
    end),
    State#state{asking = Asking#{Pid => {Id, erlang:start_timer(?ASKING_MS, self(), {asking, Pid})}}};
message({ask, Id, _What, _Argument}, State) ->
    say({answer, Id, error, <<"too much is asked at once: try again">>}, State),
    State;
message({log, Level, Text}, State) when Level =:= error; Level =:= warning; Level =:= info ->
    logger:log(Level, "the page: ~ts", [py_reason:utf8(Text)], #{domain => [py]}),
    State;
message({seen, _Number}, State) ->
    State;
message(_Other, State) ->
    failed("its Python has sent what is no message", State).

look(#state{look = none, watchers = Watchers, collector = Collector} = State) when Watchers > 0 ->
    py_page_collector:take(Collector),
    State#state{look = looking};
look(State) ->
    State.

viewed(_View, #state{watchers = 0} = State) ->
    State#state{look = none};
viewed(View, #state{number = Before} = State) ->
    Number = Before + 1,
    say({view, Number, View}, State),
    State#state{number = Number, look = {sent, Number}}.

paused(Ms, State) ->
    _ = erlang:start_timer(Ms, self(), look),
    State#state{look = paused}.

answered(Pid, Status, Value, #state{asking = Asking} = State) ->
    {{Id, Timer}, Left} = maps:take(Pid, Asking),
    _ = erlang:cancel_timer(Timer),
    say({answer, Id, Status, Value}, State),
    State#state{asking = Left}.

%%% What it may ask for, in a process of its own

asked(runs, #{state := State, before := Before}) when State =:= undefined orelse is_atom(State), Before =:= undefined orelse is_binary(Before) ->
    Filter = if State =:= undefined -> #{}; true -> #{state => State} end,
    {ok, py_page_rows:runs(Filter, if Before =:= undefined -> last; true -> Before end)};
asked(What, Id) when is_binary(Id), What =:= run orelse What =:= log orelse What =:= stop_run ->
    case py_page_rows:run(Id) of
        {ok, Run} -> of_run(What, Id, Run);
        error -> {error, <<"there is no such run">>}
    end;
asked(restart_worker, Name) when is_binary(Name) ->
    case [Pid || Pool <- py_registry:pools(), {_, Pid} <- py_registry:workers(Pool), list_to_binary(pid_to_list(Pid)) =:= Name] of
        [Pid] ->
            %% It may take as long as its open calls do.
            _ = py_worker:recycle(Pid),
            {ok, <<"gets a new interpreter when its calls have ended">>};
        [] ->
            {error, <<"there is no such worker any more">>}
    end;
asked(metrics, _) ->
    {ok, py_service_sup:metrics()};
asked(_, _) ->
    {error, <<"nobody may ask that">>}.

of_run(run, _Id, Run) ->
    {ok, Run};
of_run(log, Id, _Run) ->
    case py_run:log_end(Id, ?LOG_BYTES) of
        {ok, End, Bytes} -> {ok, #{text => End, bytes => Bytes}};
        {error, Error} -> {error, text(Error)}
    end;
of_run(stop_run, Id, _Run) ->
    case py_run:stop(Id) of
        ok -> {ok, <<"asked to stop">>};
        {error, Error} -> {error, text(Error)}
    end.

text(Error) -> py_reason:utf8(py_error:text(Error)).
