"""DirectoryService: each call is decoded, put to the directory, and its answer encoded.

No errors are caught here and nothing is logged: `calls.py` does that for all calls alike.
"""

from p2p.v1 import directory_pb2 as pb
from p2p.v1 import directory_pb2_grpc
from p2p_server.directory.directory import Directory
from p2p_server.directory.models import Limits
from p2p_server.rpc.caller import Context, caller_of, host_of
from p2p_server.rpc.streams import send_all
from p2p_server.rpc.wire import answers, events, pages, requests


class DirectoryServicer(directory_pb2_grpc.DirectoryServiceServicer):
    def __init__(self, directory: Directory, limits: Limits, *, insecure: bool) -> None:
        self._directory = directory
        self._limits = limits
        self._insecure = insecure

    async def GetDirectoryInfo(
        self, request: pb.GetDirectoryInfoRequest, context: Context
    ) -> pb.GetDirectoryInfoResponse:
        return answers.description(self._directory.describe(), insecure=self._insecure)

    async def Register(self, request: pb.RegisterRequest, context: Context) -> pb.RegisterResponse:
        application, host = requests.application(request), host_of(context.peer())
        granted = await self._directory.sessions.register(application, host)
        return answers.granted(granted, self._directory.grant_key_der)

    async def Heartbeat(
        self, request: pb.HeartbeatRequest, context: Context
    ) -> pb.HeartbeatResponse:
        load = requests.heartbeat(request)
        renewed = await self._directory.sessions.heartbeat(caller_of(context), load)
        return answers.renewed(renewed)

    async def Leave(self, request: pb.LeaveRequest, context: Context) -> pb.LeaveResponse:
        await self._directory.sessions.leave(caller_of(context))
        return pb.LeaveResponse()

    async def Announce(self, request: pb.AnnounceRequest, context: Context) -> pb.AnnounceResponse:
        taken = await self._directory.announce(caller_of(context), requests.batch(request))
        return answers.taken(taken)

    async def Query(self, request: pb.QueryRequest, context: Context) -> pb.QueryResponse:
        found = await self._directory.query(
            caller_of(context), requests.asked(request), request.page_size, request.page_token
        )
        return pages.resources(found, self._limits.max_page_bytes)

    async def ListPeers(
        self, request: pb.ListPeersRequest, context: Context
    ) -> pb.ListPeersResponse:
        found = await self._directory.list_peers(
            caller_of(context), request.user, request.page_size, request.page_token
        )
        return pages.peers(found, self._limits.max_page_bytes)

    async def Locate(self, request: pb.LocateRequest, context: Context) -> pb.LocateResponse:
        found = await self._directory.locate(
            caller_of(context), request.digests, request.page_size, request.page_token
        )
        return pages.holdings(found, self._limits.max_page_bytes)

    # The stubs know streams as iterators only; an iterator is not closed when its reader goes.
    async def Watch(  # type: ignore[override]
        self, request: pb.WatchRequest, context: Context
    ) -> None:
        found = self._directory.watch(caller_of(context), requests.wish(request))
        await send_all(found, events.shown, context)
