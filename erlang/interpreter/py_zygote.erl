%%% @doc The zygotes: warmed interpreters that workers' interpreters are forked from, see "Preloaded workers" in docs/architecture.md.
%%%
%%% There is one for all workers whose interpreters would be the same when they have imported what `preload' names. A worker asks for
%%% its socket before each start; then the zygote is asked whether it is there and its sources are as they were, and replaced where
%%% not. Whatever is wrong with one, the answer comes within a bounded time, and in doubt it is `none': a plain start. The worker
%%% waits no longer than that; what takes time, the imports, its stub waits for, within the worker's `start_timeout'.
%%%
%%% ```
%%%   opening -> warming -> ready <-> asked
%%%      |          |          `-> retired (it forks no more, and ends with its last fork)
%%%      `----------`-> threaded (none runs: what was asked for can't be forked)
%%% '''
%%% What is said to a zygote and by it is in `erl.runtime.zygote'.
%%% @private
-module(py_zygote).
-behaviour(gen_server).

-export([start_link/0, socket/2]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2, terminate/2, format_status/1]).

-type key() :: binary().
-record(zygote, {
    port :: port(),
    os_pid :: non_neg_integer(),
    socket :: file:filename(),
    phase :: opening | warming | ready | asked,
    timer :: reference(),
    waiting = [] :: [gen_server:from()],
    start :: start()
}).
-type start() :: {py_config:pool(), file:filename_all()}.
%% What it is started from. The environment of the pool is hidden in it.
-record(state, {
    zygotes = #{} :: #{key() => #zygote{}},
    %% Of the operating system's processes that are there: which is whose, and which forks no more.
    ports = #{} :: #{port() => {key() | retired, OsPid :: non_neg_integer()}},
    threaded = #{} :: #{key() => true},
    users = #{} :: #{pid() => {reference(), key()}},
    count = 0 :: non_neg_integer()
}).

%% How long a worker waits to be told of a socket; a plain start takes a tenth of it.
-define(ANSWER_MS, 5_000).
%% How long a zygote may take to say that it is there. One that is in the middle of a fork takes milliseconds.
-define(PING_MS, 2_000).
%% How long one that nobody uses stays.
-define(IDLE_MS, 5_000).

-spec start_link() -> gen_server:start_ret().
start_link() ->
    py_predecessor:await_end(?MODULE),
    gen_server:start_link({local, ?MODULE}, ?MODULE, [], []).

%% @doc Where the zygote listens that the calling worker's next interpreter is to be forked from; `none' for a plain start.
-spec socket(py_config:pool(), Python :: file:filename_all()) -> {ok, file:filename()} | none.
socket(#{preload := [_ | _]} = Config, Python) ->
    try
        gen_server:call(?MODULE, {socket, key(Config, Python), {Config, Python}}, ?ANSWER_MS)
    catch
        exit:_ -> none
    end;
socket(_Config, _Python) ->
    none.

%% All that an interpreter finds at its start. Not for logs: so a digest.
key(#{env := Env, cd := Cd, python_path := Path, preload := Modules}, Python) ->
    Inherited = {lists:sort(os:getenv()), file:get_cwd()},
    crypto:hash(sha256, term_to_binary({Python, py_secret:reveal(Env), Cd, Path, [py_term:module(Module) || Module <- Modules], Inherited})).

-spec init([]) -> {ok, #state{}}.
init([]) ->
    process_flag(trap_exit, true),
    {ok, #state{}}.

-spec handle_call(term(), gen_server:from(), #state{}) -> {reply, term(), #state{}} | {noreply, #state{}}.
handle_call({socket, Key, Start}, {User, _} = From, State) ->
    #state{zygotes = Zygotes, threaded = Threaded} = Used = used(User, Key, State),
    case Zygotes of
        #{Key := #zygote{phase = warming, socket = Socket}} ->
            {reply, {ok, Socket}, Used};
        #{Key := #zygote{phase = ready} = Zygote} ->
            {noreply, put_zygote(Key, ask(Key, Zygote#zygote{waiting = [From]}), Used)};
        #{Key := #zygote{waiting = Waiting} = Zygote} ->
            {noreply, put_zygote(Key, Zygote#zygote{waiting = [From | Waiting]}, Used)};
        #{} when is_map_key(Key, Threaded) ->
            {reply, none, Used};
        #{} ->
            {noreply, open(Key, Start, [From], Used)}
    end;
handle_call(_Request, _From, State) ->
    {reply, {error, unknown_request}, State}.

-spec handle_cast(term(), #state{}) -> {noreply, #state{}}.
handle_cast(_Message, State) ->
    {noreply, State}.

-spec handle_info(term(), #state{}) -> {noreply, #state{}}.
handle_info({Port, {data, {_, Line}}}, #state{ports = Ports} = State) ->
    case Ports of
        #{Port := {Key, _}} when Key =/= retired -> {noreply, said(Line, Key, State)};
        #{} -> {noreply, State}
    end;
handle_info({Port, {exit_status, _}}, State) ->
    {noreply, ended(Port, State)};
handle_info({'EXIT', Port, _}, State) when is_port(Port) ->
    {noreply, ended(Port, State)};
handle_info({timeout, Timer, Key}, #state{zygotes = Zygotes} = State) ->
    case Zygotes of
        #{Key := #zygote{timer = Timer, phase = Phase, start = Start, waiting = Waiting} = Zygote} when Phase =/= ready ->
            Left = dropped(Key, Zygote, State),
            %% It does not answer: the next one will.
            case Phase of
                asked -> {noreply, open(Key, Start, Waiting, Left)};
                _ -> {noreply, answered(none, Waiting, Left)}
            end;
        #{} ->
            {noreply, State}
    end;
handle_info({idle, Key}, State) ->
    {noreply, retired_if_unused(Key, State)};
handle_info({'DOWN', Monitor, process, User, _}, #state{users = Users} = State) ->
    case Users of
        #{User := {Monitor, Key}} -> {noreply, unused(Key, State#state{users = maps:remove(User, Users)})};
        #{} -> {noreply, State}
    end;
handle_info(_Message, State) ->
    {noreply, State}.

%% What a pool's environment has is hidden, but not from a stack.
-spec format_status(gen_server:format_status()) -> gen_server:format_status().
format_status(Status) -> py_excerpt:status(Status).

%% Forks are their workers' to end.
-spec terminate(term(), #state{}) -> ok.
terminate(_Reason, #state{ports = Ports}) ->
    maps:foreach(fun(Port, {_, OsPid}) -> close(Port, OsPid) end, Ports).

%%% One zygote

open(Key, {#{start_timeout := Timeout} = Config, Python} = Start, Waiting, #state{count = Count, ports = Ports} = State) ->
    Socket = py_directory:path("zygote." ++ integer_to_list(Count)),
    case py_launcher:open_zygote(Config, Python, Socket) of
        {ok, Port, OsPid} ->
            py_watchdog:watch(OsPid, [Socket]),
            Zygote = #zygote{
                port = Port,
                os_pid = OsPid,
                socket = Socket,
                phase = opening,
                timer = erlang:start_timer(Timeout, self(), Key),
                waiting = Waiting,
                start = Start
            },
            put_zygote(Key, Zygote, State#state{count = Count + 1, ports = Ports#{Port => {Key, OsPid}}});
        {error, _} ->
            %% A plain start says why.
            answered(none, Waiting, State)
    end.

said(<<"listening">>, Key, State) ->
    #zygote{waiting = Waiting, socket = Socket} = Zygote = zygote(Key, State),
    answered({ok, Socket}, Waiting, put_zygote(Key, Zygote#zygote{phase = warming, waiting = []}, State));
said(<<"ready">>, Key, State) ->
    #zygote{timer = Timer} = Zygote = zygote(Key, State),
    _ = erlang:cancel_timer(Timer),
    put_zygote(Key, Zygote#zygote{phase = ready}, State);
said(<<"pong">>, Key, State) ->
    #zygote{waiting = Waiting, socket = Socket, timer = Timer} = Zygote = zygote(Key, State),
    _ = erlang:cancel_timer(Timer),
    answered({ok, Socket}, Waiting, put_zygote(Key, Zygote#zygote{phase = ready, waiting = []}, State));
said(<<"changed">>, Key, State) ->
    #zygote{waiting = Waiting, start = Start} = zygote(Key, State),
    open(Key, Start, Waiting, retired(Key, State));
said(<<"threads ", Text/binary>>, Key, #state{threaded = Threaded} = State) ->
    [Count, Module] = binary:split(Text, <<" ">>),
    logger:warning(
        "no worker is forked from a Python that has loaded ~ts: that runs threads (~ts in all), which a fork has not; "
        "such workers start without `preload' and import for themselves",
        [Module, Count]
    ),
    State#state{threaded = Threaded#{Key => true}};
said(_Line, _Key, State) ->
    State.

%% The timer's message is its key.
ask(Key, #zygote{port = Port} = Zygote) ->
    tell(Port, "ping\n"),
    Zygote#zygote{phase = asked, timer = erlang:start_timer(?PING_MS, self(), Key)}.

%% A port that has just closed says so in a message of its own.
tell(Port, Line) ->
    try port_command(Port, Line) of
        true -> ok
    catch
        error:badarg -> ok
    end.

%% Its process has ended.
ended(Port, #state{ports = Ports, zygotes = Zygotes} = State) ->
    case maps:take(Port, Ports) of
        {{Key, OsPid}, Left} ->
            close(Port, OsPid),
            Next = State#state{ports = Left},
            case Zygotes of
                #{Key := #zygote{port = Port, phase = asked, waiting = Waiting, start = Start} = Zygote} ->
                    open(Key, Start, Waiting, forgotten(Key, Zygote, Next));
                #{Key := #zygote{port = Port, waiting = Waiting} = Zygote} ->
                    answered(none, Waiting, forgotten(Key, Zygote, Next));
                #{} ->
                    Next
            end;
        error ->
            State
    end.

%% It is killed.
dropped(Key, #zygote{port = Port, os_pid = OsPid} = Zygote, #state{ports = Ports} = State) ->
    close(Port, OsPid),
    forgotten(Key, Zygote, State#state{ports = maps:remove(Port, Ports)}).

forgotten(Key, #zygote{socket = Socket, timer = Timer}, #state{zygotes = Zygotes} = State) ->
    _ = erlang:cancel_timer(Timer),
    _ = file:delete(Socket),
    State#state{zygotes = maps:remove(Key, Zygotes)}.

close(Port, OsPid) ->
    catch port_close(Port),
    py_launcher:end_group(OsPid),
    py_watchdog:forget(OsPid).

%% It ends with its last fork: until then it tells how they end.
retired(Key, #state{ports = Ports} = State) ->
    #zygote{port = Port, os_pid = OsPid} = Zygote = zygote(Key, State),
    tell(Port, "retire\n"),
    forgotten(Key, Zygote, State#state{ports = Ports#{Port := {retired, OsPid}}}).

zygote(Key, #state{zygotes = Zygotes}) -> maps:get(Key, Zygotes).

put_zygote(Key, Zygote, #state{zygotes = Zygotes} = State) -> State#state{zygotes = Zygotes#{Key => Zygote}}.

answered(Answer, Waiting, State) ->
    [gen_server:reply(From, Answer) || From <- Waiting],
    State.

%%% Who uses them

used(User, Key, #state{users = Users} = State) ->
    case Users of
        #{User := {_, Key}} ->
            State;
        #{User := {Monitor, Other}} ->
            unused(Other, State#state{users = Users#{User := {Monitor, Key}}});
        #{} ->
            State#state{users = Users#{User => {monitor(process, User), Key}}}
    end.

%% One of its users is none any more. A pool that starts again finds it there.
unused(Key, State) ->
    _ = is_used(Key, State) orelse erlang:send_after(?IDLE_MS, self(), {idle, Key}),
    State.

is_used(Key, #state{users = Users}) -> lists:any(fun({_, Used}) -> Used =:= Key end, maps:values(Users)).

retired_if_unused(Key, #state{zygotes = Zygotes, threaded = Threaded} = State) ->
    case is_used(Key, State) of
        true -> State;
        %% It has no forks: their workers are gone.
        false when is_map_key(Key, Zygotes) -> dropped(Key, zygote(Key, State), State);
        false -> State#state{threaded = maps:remove(Key, Threaded)}
    end.
